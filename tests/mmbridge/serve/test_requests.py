"""What is asked and answered, field by field, as OpenAI's clients see it."""

import json
import math
from base64 import b64decode
from struct import unpack
from time import process_time

import pytest
import torch
from mmbridge_registry import Generation
from toys.served import HOST, Looker, asked, colour_of, data_uri, direction, encoded, image_part

from mmbridge.serve.asked import ChatRequest, EmbeddingRequest, parse
from mmbridge.serve.refusal import Refusal

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def error_of(response):
    """Give a refusal's error object, whose form OpenAI's clients rely on."""
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    kind = "server_error" if response.status_code >= 500 else "invalid_request_error"
    assert body["error"]["type"] == kind and "Traceback" not in response.text
    return body["error"]


def test_a_chat_completion(client):
    done = client.post(CHAT, json=asked("What is it?", "#102030", model="looker", user="me", seed=4))
    assert done.status_code == 200
    body = done.json()
    assert body["object"] == "chat.completion" and body["model"] == "looker" and body["id"].startswith("chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "#102030|Question: what is it? Answer:"}
    assert choice["finish_reason"] == "stop" and choice["index"] == 0


def test_several_images_come_in_order(client):
    done = client.post(CHAT, json=asked("Same?", "#010203", "#040506", "#070809"))
    said = done.json()["choices"][0]["message"]["content"]
    assert said == "#010203 #040506 #070809|<image> <image> <image> Question: same? Answer:"


@pytest.mark.parametrize(
    ("fields", "generation"),
    [
        ({}, Generation()),
        ({"temperature": 0, "top_p": 0.5}, Generation()),
        ({"max_tokens": 7}, Generation(max_new_tokens=7)),
        ({"max_tokens": 7, "max_completion_tokens": 8}, Generation(max_new_tokens=8)),
        ({"temperature": 0.5}, Generation(sample=True, temperature=0.5, top_p=1)),
        ({"top_p": 0.5}, Generation(sample=True, temperature=1, top_p=0.5)),
        ({"temperature": 1, "top_p": 0.5}, Generation(sample=True, top_p=0.5)),
        ({"beams": 5}, Generation(beams=5)),
        ({"n": 1, "stream": None, "stop": None, "tools": [], "logprobs": False, "presence_penalty": 0}, Generation()),
        ({"response_format": {"type": "text"}, "modalities": ["text"], "logit_bias": {}}, Generation()),
    ],
)
def test_fields_become_generation_settings(serving, fields, generation):
    model = Looker()
    with serving(model) as client:
        assert client.post(CHAT, json=asked("x", "red", **fields)).status_code == 200
    assert model.calls == [(1, generation)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"beams": 11}, "beams"),
        ({"stop": list("abcde")}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}] * 65}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 8001}]}, "messages"),
    ],
)
def test_fields_that_do_not_fit_are_named(client, fields, param):
    done = client.post(
        CHAT, content=json.dumps(asked("x", "red", **fields)), headers={"content-type": "application/json"}
    )
    assert done.status_code == 400
    assert error_of(done)["param"] == param


def test_another_models_name_is_not_found(client):
    done = client.post(CHAT, json=asked("x", "red", model="gpt-4o"))
    assert done.status_code == 404 and error_of(done)["code"] == "model_not_found"
    assert client.get("/v1/models").json()["data"][0]["id"] == "looker"


@pytest.mark.parametrize(
    ("stop", "said"), [("Answer", "#ff0000|Question: x "), (["zz", ":", "Q"], "#ff0000|"), ([""], None)]
)
def test_stop_sequences_end_the_answer(client, stop, said):
    done = client.post(CHAT, json=asked("x", "red", stop=stop)).json()
    assert done["choices"][0]["message"]["content"] == (said or "#ff0000|Question: x Answer:")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{}", b'{"messages": [}', b"[" * 100_000, b'{"a":' * 100_000,
     b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"tools": ' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}"],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS])
def test_what_is_no_json_or_too_deep_is_refused(client, body, path):
    done = client.post(path, content=body, headers={"content-type": "application/json; charset=utf-8"})
    assert done.status_code == 400
    assert len(error_of(done)["message"]) < 200


HOSTILE = {
    "lists": b'{"input": [' + b"[]," * 100_000 + b'""]}',
    "numbers": b'{"messages": [' + b"1," * 100_000 + b"1]}",
    "words": b'{"modalities": [' + b'"",' * 100_000 + b'""]}',
    "keys": b"{" + b'"":1,' * 100_000 + b'"a":1}',
    "commas": b"," * 1_000_000,
    "digits": b'{"messages": [{"role": "user"}], "max_tokens": ' + b"9" * 5_000_000 + b"}",
    "escapes": b'{"model": "' + b"\\n" * 3_000_000 + b'"}',
    "unended": b'{"model": "' + b"\\\\" * 3_000_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_json_that_is_made_to_swell_is_refused_at_once(body):
    start = process_time()
    with pytest.raises(Refusal) as refused:
        parse(EmbeddingRequest if body.startswith(b'{"input') else ChatRequest, body)
    assert refused.value.status == 400 and process_time() - start < 0.5


def test_a_refusal_does_not_repeat_what_was_sent(client):
    done = client.post(CHAT, json=asked("x", "red", n="S3CRET" * 1000))
    assert done.status_code == 400 and "S3CRET" not in done.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_any_web_page_may_send_is_refused(client, kind):
    done = client.post(CHAT, content=json.dumps(asked("x", "red")), headers={"content-type": kind} if kind else {})
    assert done.status_code == 415
    error_of(done)


def test_a_stream_is_one_completion_in_chunks(client):
    done = client.post(CHAT, json=asked("Größe?\n", "red", stream=True))
    assert done.headers["content-type"].startswith("text/event-stream")
    events = done.text.split("\n\n")
    assert events.pop() == "" and events.pop() == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(one["delta"].get("content", "") for one in choices) == "#ff0000|Question: größe? Answer:"
    assert [one["finish_reason"] for one in choices] == [None] * (len(choices) - 1) + ["stop"]


def test_a_stream_that_cannot_be_answered_is_an_error_like_any_other(client):
    done = client.post(CHAT, json=asked("explode", "red", stream=True))
    assert done.status_code == 500
    error_of(done)


def test_embeddings_of_texts_and_images(client):
    done = client.post(EMBEDDINGS, json={"input": ["a cat", data_uri("#112233"), "a dog"], "model": "looker"}).json()
    assert [one["index"] for one in done["data"]] == [0, 1, 2] and done["object"] == "list"
    vectors = torch.tensor([one["embedding"] for one in done["data"]])
    torch.testing.assert_close(vectors[[0, 2]], torch.stack([direction("a cat"), direction("a dog")]))
    queries = torch.stack([direction(f"#112233{query}") for query in range(4)]).double().sum(0)
    torch.testing.assert_close(vectors[1].double(), queries / queries.norm(), atol=1e-6, rtol=0)


def test_embeddings_as_base64_are_the_same_numbers(client):
    ask = {"input": "a cat", "dimensions": 6}
    numbers = client.post(EMBEDDINGS, json=ask).json()["data"][0]["embedding"]
    packed = client.post(EMBEDDINGS, json={**ask, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert list(unpack("<6f", b64decode(packed))) == numbers


@pytest.mark.parametrize(
    "fields",
    [{"input": []}, {"input": ""}, {"input": ["a", " "]}, {"input": [1, 2]}, {"input": ["a"] * 65},
     {"input": "x" * 8001}, {"input": "data:image/png;base64,AAAA"}, {"input": "a", "dimensions": 7},
     {"input": "a", "encoding_format": "int8"}, {}],
)  # fmt: skip
def test_embedding_requests_that_do_not_fit_are_refused(client, fields):
    done = client.post(EMBEDDINGS, json=fields)
    assert done.status_code == 400
    error_of(done)


def test_routes_that_are_none_are_refused_in_json(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("POST", "/", 405),
        ("GET", CHAT, 405),
        ("GET", "/../x", 404),
    ):
        done = client.request(method, path)
        assert done.status_code == status
        error_of(done)


def test_openais_own_client_is_content(port):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{HOST.rpartition(':')[0]}:{port}/v1", api_key="none", max_retries=0)
    assert [one.id for one in client.models.list()] == ["looker"]
    messages = [{"role": "user", "content": [image_part("#aabbcc"), {"type": "text", "text": "What?"}]}]
    said = "#aabbcc|Question: what? Answer:"
    assert client.chat.completions.create(model="looker", messages=messages).choices[0].message.content == said
    chunks = list(client.chat.completions.create(model="looker", messages=messages, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said
    (cat,) = client.embeddings.create(model="looker", input="a cat").data
    torch.testing.assert_close(torch.tensor(cat.embedding), direction("a cat"))
    with pytest.raises(openai.BadRequestError, match="n: "):
        client.chat.completions.create(model="looker", messages=messages, n=2)
    with pytest.raises(openai.NotFoundError, match="gpt"):
        client.chat.completions.create(model="gpt-4o", messages=messages)


def test_pixels_arrive_unchanged():
    assert colour_of(encoded("#123456")) == "#123456"
