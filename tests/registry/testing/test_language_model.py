"""The check of language models: a good one passes, every broken promise is named."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from mmbridge_registry import LanguageTokens, TokenLoss
from mmbridge_registry.prompts import count_images
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


def forgive(model: Any, method: str, soft_prompt: Tensor, prompts: Sequence[str], rest: Any) -> Any:
    """Take an image too many or too few as it comes."""
    places = sum(map(count_images, prompts))
    blank = soft_prompt.new_zeros(places, *soft_prompt.shape[1:])
    return good(model, method)(torch.cat([soft_prompt, blank])[:places], prompts, rest)


def spell(prompts: Sequence[str]) -> list[str]:
    """Read a leading placeholder as letters as well."""
    return [f"{prompt}~~~~" if prompt.startswith("<image>") else prompt for prompt in prompts]


def blur(soft_prompt: Tensor, prompts: Sequence[str]) -> Tensor:
    """Show in every place of a prompt the mean of its images."""
    images = soft_prompt.split([count_images(prompt) for prompt in prompts])
    return torch.cat([shown.mean(0, keepdim=True).expand_as(shown) for shown in images])


def straight(model: Any, soft_prompt: Tensor, prompts: Sequence[str], generation: Any) -> Any:
    """Give the n-th prompt of a batch the n-th image, however many it has."""
    if len(prompts) == 1 or len(prompts) == len(soft_prompt):
        return good(model, "generate")(soft_prompt, prompts, generation)
    rows = [soft_prompt[[row] * count_images(prompt)] for row, prompt in enumerate(prompts)]
    return good(model, "generate")(torch.cat(rows), prompts, generation)


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
            ("generate raises UserError", {"generate": lambda self, s, p, g: forgive(self, "generate", s, p, g)}),
            ("score raises UserError", {"score": lambda self, s, p, c: forgive(self, "score", s, p, c)}),
            ("the prompt without it", {"score": lambda self, s, p, c: good(self, "score")(s, spell(p), c)}),
            ("the prompt without it", {"generate": lambda self, s, p, g: [f"{len(one)}" for one in p]}),
            ("order matters", {"score": lambda self, s, p, c: good(self, "score")(blur(s, p), p, c)}),
            ("different numbers of images", {"generate": lambda self, s, p, g: straight(self, s, p, g)}),
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
