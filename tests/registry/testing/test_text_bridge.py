"""The check of text bridges: a good one passes, every broken promise is named."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from mmbridge_registry import Tokens
from mmbridge_registry.testing import check_text_bridge
from torch import Tensor
from toys.breaking import Sealed, broken, good
from toys.text_bridge import FEATURE
from toys.whole_bridge import Letters, WholeBridge

torch.set_num_threads(1)

REACH = WholeBridge.reach


class Wide(Letters):
    def __call__(self, texts: Sequence[str]) -> Tokens:
        return super().__call__(texts).widen(60)


def words(bridge: Any, tokens: Tokens) -> Tensor:
    """Embeddings of the text but for its first token, which decoding must not read."""
    return bridge.words(tokens.ids) * (torch.arange(tokens.ids.shape[1]) > 0)[:, None]


def scores(bridge: Any, hidden: Tensor) -> Tensor:
    return good(bridge, "vocabulary_logits")(hidden)


class TestTextBridge:
    def bridge(self) -> Any:
        torch.manual_seed(0)
        return WholeBridge()

    def test_a_good_one_passes(self) -> None:
        check_text_bridge(self.bridge(), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("padded to the longest", {"tokenizer": Wide()}),
            ("picklable", {"tokenizer": Sealed(Letters())}),
            ("hidden states .B,T,D", {"encode_text": lambda self, t: good(self, "encode_text")(t)[:, :-1]}),
            ("encode_text does not see padding", {"encode_text": lambda self, t: words(self, t) + t.ids.shape[1]}),
            ("match does not see padding", {"match": lambda self, i, t: good(self, "match")(i, t) + t.ids.shape[1]}),
            (
                "never sees the future",
                {"decode_text": lambda self, i, t: words(self, t) + t.ids[:, 1:, None].sum(1, keepdim=True)},
            ),
            ("position 0 as the start", {"decode_text": lambda self, i, t: self.words(t.ids)}),
            ("decode_text sees the image", {"decode_text": lambda self, i, t: words(self, t) * 0}),
            ("vocabulary_logits scores", {"vocabulary_logits": lambda self, h: scores(self, h)[None]}),
            ("score for every id", {"vocabulary_logits": lambda self, h: scores(self, h)[..., :5]}),
            ("logits .B,2", {"match": lambda self, i, t: good(self, "match")(i, t)[:, :1]}),
            ("match sees the image", {"match": lambda self, i, t: good(self, "match")(i, t) * 0}),
            ("embed_image is L2", {"embed_image": lambda self, i: 2 * good(self, "embed_image")(i)}),
            ("embed_text is L2", {"embed_text": lambda self, h: 2 * good(self, "embed_text")(h)}),
            ("same C", {"embed_text": lambda self, h: good(self, "embed_text")(h)[:, :-1]}),
            ("positive scalar", {"temperature": property(lambda self: -self.temp)}),
            (r"\['match'\]\) is .* leaves out .*match_head", {"reach": REACH | {"match": REACH["image"]}}),
            (
                r"\['decode'\]\) is .* no gradient gets to .*temp",
                {"reach": REACH | {"decode": (*REACH["decode"], "temp")}},
            ),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_text_bridge(broken(self.bridge(), **changes), FEATURE)

    def test_select_that_forgets_to_pick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("toys.text_bridge.ToyImages.select", lambda self, index: self)
        with pytest.raises(AssertionError, match="select picks and repeats rows"):
            check_text_bridge(self.bridge(), FEATURE)
