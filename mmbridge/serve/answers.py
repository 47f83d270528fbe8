"""Answers: what goes back, in the form that OpenAI's clients read. Tokens are not counted, so there is no `usage`."""

import json
from base64 import b64encode
from collections.abc import Sequence
from struct import pack
from time import time
from typing import Any
from uuid import uuid4


def model_list(name: str) -> dict[str, Any]:
    """Give the list of the one model that is served."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "mmbridge"}]}


def completion(model: str, text: str) -> dict[str, Any]:
    """Give a chat completion."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _chat("chat.completion", model, [choice])[0]


def stream(model: str, text: str) -> str:
    """Give a chat completion as server-sent events; the text, which is known already, comes in one piece."""
    first, piece, end = {"role": "assistant", "content": ""}, {"content": text}, {}
    deltas = [{"delta": delta, "finish_reason": "stop" if delta is end else None} for delta in (first, piece, end)]
    events = [json.dumps(chunk, ensure_ascii=False) for chunk in _chat("chat.completion.chunk", model, deltas)]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])


def embeddings(model: str, vectors: Sequence[Sequence[float]], as_base64: bool) -> dict[str, Any]:
    """Give embeddings, as numbers or as base64 of little-endian float32, for which OpenAI's own client asks."""
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "model": model, "data": data}


def _chat(kind: str, model: str, choices: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give one object per choice; together they are one completion."""
    known = {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time()), "model": model}
    return [{**known, "choices": [{"index": 0, "logprobs": None, **choice}]} for choice in choices]


def _packed(vector: Sequence[float]) -> str:
    return b64encode(pack(f"<{len(vector)}f", *vector)).decode()
