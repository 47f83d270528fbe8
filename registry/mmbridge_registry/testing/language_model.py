"""The conformance check of language models."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from mmbridge_registry.errors import UserError
from mmbridge_registry.language_model import IGNORED, IMAGE, LanguageModel, LanguageTokens
from mmbridge_registry.options import Generation
from mmbridge_registry.testing.promises import (
    expect,
    expect_close,
    expect_pickles,
    expect_safe_dtype,
    expect_saves,
    expect_stays_in_eval_mode,
    state,
)

# Short even in bytes: a training text may be cut, a scored one not.
PROMPTS = ("a red", "", "a blue thing on")
TARGETS = ("dot", "two", "big one")
QUERIES = 4


def check_language_model(
    model: LanguageModel, prompts: Sequence[str] = PROMPTS, targets: Sequence[str] = TARGETS
) -> None:
    """Check what the framework relies on in a language model; prompts differ in length and one is empty.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(model, LanguageModel), "a language model derives from LanguageModel")
    expect(not model.training, "a language model is built in eval mode")
    expect(model.kind in ("decoder", "encoder_decoder"), f"kind is decoder or encoder_decoder, not {model.kind!r}")
    expect_safe_dtype(model, model.safe_dtypes)
    expect_stays_in_eval_mode(model)
    expect(0 < model.token_scale < float("inf"), "token_scale is the size of the token embeddings, positive and finite")
    tokens = _check_tokenizer(model, prompts, targets)
    noise = torch.randn(max(len(prompts), 3), QUERIES, model.width, generator=torch.Generator().manual_seed(0))
    images = model.token_scale * noise
    soft_prompt = images[: len(prompts)]
    with state(model, grad=False, training=False):
        _check_loss(model, soft_prompt, tokens, prompts, targets)
        _check_gradient(model, soft_prompt, tokens)
        for beams in (1, 2):
            _check_generation(model, soft_prompt, prompts, Generation(max_new_tokens=5, beams=beams))
        _check_scores(model, soft_prompt, prompts, targets)
        _check_images(model, images[:3], prompts[0], targets)
    expect_saves(model, lambda part: part.loss(soft_prompt, tokens).total)


def _check_tokenizer(model: LanguageModel, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
    copy = expect_pickles(model.tokenizer, "the tokenizer is picklable: it runs in loader workers")
    tokens = model.tokenizer(prompts, targets)
    expect(len(tokens) == len(prompts) == len(tokens.labels), "a tokenizer gives one row per (prompt, target)")
    expect(tokens.inputs.ids.dtype == torch.int64, "token ids are int64")
    expect(tokens.inputs.mask.dtype == torch.bool, "token masks are bool")
    expect(bool((tokens.labels != IGNORED).any(1).all()), "every target has a token that is scored")
    if model.kind == "decoder":
        expect(tokens.labels.shape == tokens.inputs.ids.shape, "a decoder's labels are aligned with its inputs")
        scored = tokens.labels != IGNORED
        same = tokens.labels[scored] == tokens.inputs.ids[scored]
        expect(bool(same.all()), "a decoder's labels are its input ids, not shifted, or -100")
    pickled = copy(prompts, targets)
    expect(torch.equal(pickled.inputs.ids, tokens.inputs.ids), "a pickled tokenizer gives the same tokens")
    return tokens


def _check_loss(
    model: LanguageModel, soft_prompt: Tensor, tokens: LanguageTokens, prompts: Sequence[str], targets: Sequence[str]
) -> None:
    loss = model.loss(soft_prompt, tokens)
    expect(loss.total.dim() == 0 and loss.total.dtype == torch.float32, "loss is a float32 scalar, the sum over tokens")
    expect(bool(loss.total.isfinite()) and bool(loss.total > 0), "loss is finite and positive")
    scored = int((tokens.labels != IGNORED).sum())
    expect(int(loss.count) == scored, f"loss counts the labels that are not -100: {scored}, not {int(loss.count)}")
    rows = [
        model.loss(soft_prompt[row : row + 1], model.tokenizer([prompt], [target])).total
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True))
    ]
    expect_close(loss.total, torch.stack(rows).sum(), "the loss of a batch is the sum of its rows' losses alone")


def _check_gradient(model: LanguageModel, soft_prompt: Tensor, tokens: LanguageTokens) -> None:
    leaf = soft_prompt.clone().requires_grad_()
    loss = model.loss(leaf, tokens).total
    expect(loss.requires_grad, "the gradient of the loss reaches the soft prompt although the model is frozen")
    loss.backward()
    touched = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    expect(not touched, f"a frozen language model gets no gradient; these do: {touched[:3]}")
    expect(
        leaf.grad is not None and bool((leaf.grad.norm(dim=-1) > 0).all()),
        "the gradient of the loss reaches every query of the soft prompt",
    )


def _check_generation(
    model: LanguageModel, soft_prompt: Tensor, prompts: Sequence[str], generation: Generation
) -> None:
    texts = model.generate(soft_prompt, prompts, generation)
    expect(
        len(texts) == len(prompts) and all(isinstance(text, str) for text in texts), "generate gives one text per row"
    )
    again = model.generate(soft_prompt, prompts, generation)
    expect(again == texts, "without sampling, generate always gives the same texts")
    alone = [model.generate(soft_prompt[i : i + 1], [prompt], generation)[0] for i, prompt in enumerate(prompts)]
    expect(texts == alone, f"a batch writes what its rows write alone (beams: {generation.beams}): {texts}, {alone}")
    repeats = [text.startswith(prompt) for text, prompt in zip(texts, prompts, strict=True) if prompt]
    expect(not repeats or not all(repeats), "the prompt is not part of what generate returns")


def _check_scores(model: LanguageModel, soft_prompt: Tensor, prompts: Sequence[str], targets: Sequence[str]) -> None:
    candidates = [list(targets[: 1 + row % len(targets)]) for row in range(len(prompts))]
    scores = model.score(soft_prompt, prompts, candidates)
    expect(
        [tuple(row.shape) for row in scores] == [(len(texts),) for texts in candidates],
        "score gives one tensor per row, with one number per candidate",
    )
    for row, texts in enumerate(candidates):
        one = soft_prompt[row : row + 1]
        alone = model.score(one, [prompts[row]], [texts])[0]
        expect_close(scores[row], alone, "score gives for a batch what its rows give alone")
        losses = [model.loss(one, model.tokenizer([prompts[row]], [text])).total for text in texts]
        expect_close(scores[row], -torch.stack(losses), "score is the log-likelihood: minus the loss of the candidate")


def _check_images(model: LanguageModel, soft_prompt: Tensor, prompt: str, targets: Sequence[str]) -> None:
    """Check prompts that have places for images; there are three."""
    one, two = f"{IMAGE} {prompt}", f"{prompt} {IMAGE} {prompt} {IMAGE} {prompt}"

    def ask(images: list[int], *prompts: str) -> tuple[list[str], Tensor]:
        texts = model.generate(soft_prompt[images], prompts, Generation(max_new_tokens=5))
        return texts, torch.cat(model.score(soft_prompt[images], prompts, [targets] * len(prompts)))

    same = "a prompt that begins with its only placeholder is the prompt without it"
    (texts, scores), (plain_texts, plain_scores) = ask([0], one), ask([0], prompt)
    expect(texts == plain_texts, f"{same}: {texts}, {plain_texts}")
    expect_close(scores, plain_scores, same)
    whole = "a batch with different numbers of images gives what its rows give alone"
    (texts, scores), alone = ask([0, 1, 2, 2], one, two, prompt), (ask([0], one), ask([1, 2], two), ask([2], prompt))
    expect(texts == [text for row, _ in alone for text in row], f"{whole}: {texts}")
    expect_close(scores, torch.cat([row for _, row in alone]), whole)
    swapped = ask([2, 1], two)[1]
    expect(not torch.allclose(swapped, alone[1][1], rtol=1e-5), "every image stands in its own place: order matters")
    for asked, images in ((two, []), (two, [0]), (two, [0, 1, 2]), (prompt, []), (prompt, [0, 1])):
        given = soft_prompt[images], [asked]
        _expect_refusal("generate", partial(model.generate, *given, Generation(max_new_tokens=5)))
        _expect_refusal("score", partial(model.score, *given, [targets]))


def _expect_refusal(method: str, call: Callable[[], object]) -> None:
    try:
        call()
    except UserError:
        return
    raise AssertionError(f"{method} raises UserError where placeholders and images differ in number")
