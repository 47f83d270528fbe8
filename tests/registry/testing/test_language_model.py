"""The check of language models: a good one passes, every broken promise is named."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from mmbridge_registry import LanguageTokens, TokenLoss
from mmbridge_registry.testing import check_language_model
from third_party.installing import STRANGER
from torch import Tensor, nn
from toys.breaking import Sealed, broken, good

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STRANGER))


def lose(
    model: Any,
    soft_prompt: Tensor,
    tokens: LanguageTokens,
    total: Callable[[Tensor], Tensor] = lambda total: total,
    count: Callable[[Tensor], Tensor] = lambda count: count,
) -> TokenLoss:
    loss = good(model, "loss")(soft_prompt, tokens)
    return TokenLoss(total(loss.total), count(loss.count))


class Shifted:
    def __call__(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        from mmbridge_stranger.characters import CharacterTokenizer

        tokens = CharacterTokenizer()(prompts, targets)
        return LanguageTokens(tokens.inputs, tokens.labels.roll(-1, 1))


class TestLanguageModel:
    def model(self) -> Any:
        from mmbridge_stranger import GruOptions, build_gru

        return build_gru(GruOptions(width=8))

    def test_a_good_one_passes(self) -> None:
        check_language_model(self.model())

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("kind is decoder", {"kind": "diffusion"}),
            ("safe_dtypes", {"safe_dtypes": frozenset({torch.bfloat16})}),
            ("stays in eval mode", {"train": nn.Module.train}),
            ("token_scale", {"token_scale": property(lambda self: 0.0)}),
            ("picklable", {"tokenizer": Sealed(Shifted())}),
            ("float32 scalar", {"loss": lambda self, s, t: lose(self, s, t, total=lambda total: total.double())}),
            ("finite and positive", {"loss": lambda self, s, t: lose(self, s, t, total=lambda total: -total)}),
            ("counts the labels", {"loss": lambda self, s, t: lose(self, s, t, count=lambda count: count + 1)}),
            ("sum of its rows", {"loss": lambda self, s, t: lose(self, s, t, total=lambda total: total / len(s))}),
            ("reaches the soft prompt", {"loss": lambda self, s, t: lose(self, s.detach(), t)}),
            ("every query", {"loss": lambda self, s, t: lose(self, s[:, 1:], t)}),
            ("one text per row", {"generate": lambda self, s, p, g: good(self, "generate")(s, p, g)[1:]}),
            ("always gives the same", {"generate": lambda self, s, p, g: [str(random.random()) for _ in p]}),
            ("what its rows write alone", {"generate": lambda self, s, p, g: [str(len(p))] * len(p)}),
            ("prompt is not part", {"generate": lambda self, s, p, g: [f"{prompt} x" for prompt in p]}),
            ("one number per candidate", {"score": lambda self, s, p, c: [torch.zeros(2) for _ in p]}),
            ("minus the loss", {"score": lambda self, s, p, c: [torch.ones(len(texts)) for texts in c]}),
            (
                "score gives for a batch",
                {"score": lambda self, s, p, c: [rank + len(p) for rank in good(self, "score")(s, p, c)]},
            ),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_language_model(broken(self.model(), **changes))

    def test_shifted_labels(self) -> None:
        with pytest.raises(AssertionError, match="not shifted"):
            check_language_model(broken(self.model(), tokenizer=Shifted()))

    def test_gradient_on_a_frozen_model(self) -> None:
        def thaw(self: Any, soft_prompt: Tensor, tokens: LanguageTokens) -> TokenLoss:
            self.head.bias.requires_grad_()
            return good(self, "loss")(soft_prompt, tokens)

        with pytest.raises(AssertionError, match=r"gets no gradient; these do: \['head.bias'\]"):
            check_language_model(broken(self.model(), loss=thaw))
