"""Steps whole and in parts, on one process or by ranks, with objectives that a stranger might bring."""

from collections.abc import Sequence
from typing import Any

import torch
from mmbridge_objectives import (
    CaptionOptions,
    ContrastOptions,
    GenerationOptions,
    MatchOptions,
    PrefixOptions,
    build_itc,
    build_itg,
    build_itm,
    build_lm,
    build_prefix_lm,
)
from mmbridge_registry import Batch, LanguageModel, LanguageTokens, Objective, ObjectiveLoss, Tokens
from mmbridge_registry.language_model import TokenLoss
from torch import Tensor, nn
from torch.nn import functional as F
from toys.stage1 import share, toy_batch
from toys.text_bridge import VOCABULARY, ToyBridge, ToyEncoder

from mmbridge.collectives import Collectives
from mmbridge.engine import Engine
from mmbridge.micro_batches import backward
from mmbridge.model import BridgedModel, StageModel


class Sigmoids(Objective):
    """A stranger's contrast: every pair of the global batch is true or false by itself (SigLIP)."""

    passes = frozenset({"contrast"})

    def prepare(self, draft):
        return {"captions": draft.captions}

    def forward(self, step):
        similarity = step.similarity()
        signs = similarity.same_image * 2 - 1
        total = -F.logsigmoid(signs * similarity.image_to_text).sum()
        return ObjectiveLoss(total, {"pairs": (total * 0 + signs.numel()).detach()})


class Longest(Objective):
    """A stranger's objective that knows of sums and counts only: it writes the first word, weighed by the length."""

    passes = frozenset({"decode"})

    def prepare(self, draft):
        return {"captions": draft.captions}

    def count(self, step):
        return step.captions.mask.sum()

    def forward(self, step):
        hidden = step.bridge.decode_text(step.image, step.captions)[:, 0]
        losses = F.cross_entropy(step.bridge.vocabulary_logits(hidden), step.captions.ids[:, 1], reduction="none")
        return ObjectiveLoss((losses * step.captions.mask.sum(1)).sum())


class Speaker(LanguageModel):
    """One table of words: the mean of the soft prompt and what was read predicts every label."""

    width, kind, safe_dtypes = 4, "decoder", frozenset({torch.float64})

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 4).requires_grad_(False)

    @property
    def token_scale(self) -> float:
        return 1.0

    def loss(self, soft_prompt, tokens):
        read = (self.words(tokens.inputs.ids) * tokens.inputs.mask[..., None]).sum(1)
        scored = tokens.labels >= 0
        logits = (soft_prompt.mean(1) + read).tanh() @ self.words.weight.T
        losses = F.cross_entropy(
            logits[:, None].expand(*tokens.labels.shape, -1)[scored], tokens.labels[scored], reduction="sum"
        )
        return TokenLoss(losses, scored.sum())

    def generate(self, soft_prompt, prompts, generation):
        raise NotImplementedError

    def score(self, soft_prompt, prompts, candidates):
        raise NotImplementedError


OBJECTIVES = {
    "itc": lambda: build_itc(ContrastOptions(label_smoothing=0.1)),
    "nograd": lambda: build_itc(ContrastOptions(label_smoothing=0.1, gather="nograd")),
    "itg": lambda: build_itg(GenerationOptions(label_smoothing=0.1)),
    "itm": lambda: build_itm(MatchOptions()),
    "uniform": lambda: build_itm(MatchOptions(negatives="uniform")),
    "lm": lambda: build_lm(CaptionOptions()),
    "prefix_lm": lambda: build_prefix_lm(PrefixOptions()),
    "sigmoids": Sigmoids,
    "longest": Longest,
}

SHARED = [0, 1, 2, 3, 4, 0, 1, 7, 8, 8, 8, 11]
"""Image ids of 12 rows; some are on both of two ranks, or in two micro-batches."""


def batch_of(number: int, image_ids: Sequence[int] = SHARED) -> Batch:
    """Give 12 rows whose numbers of caption tokens, and of labels, are unlike."""
    batch = toy_batch(12, list(image_ids), seed=number)
    captions = batch.prepared["captions"]
    assert isinstance(captions, Tokens)
    labels = torch.where(captions.mask & (torch.arange(9) > 2), captions.ids, -100)
    read = Tokens(captions.ids[:, :3], captions.mask[:, :3])
    spoken = LanguageTokens(read, labels)
    return Batch(
        batch.pixels, batch.image_ids, batch.positions, {"captions": captions, "lm": spoken, "prefix_lm": spoken}
    )


def stage_of(
    collectives: Collectives, names: Sequence[str], trained_encoder: bool = False, bridge: ToyBridge | None = None
) -> StageModel:
    """Give a new toy model in float64 with objectives by name; what they do not reach is frozen."""
    torch.manual_seed(1)
    model = BridgedModel(ToyEncoder(trained_encoder), bridge or ToyBridge(), Speaker()).double()
    objectives = {name: OBJECTIVES[name]() for name in names}
    return StageModel(model, objectives, collectives, seed=3)


def freeze_what_is_not_reached(stage: StageModel, batch: Batch) -> None:
    """Leave gradient to what the losses reach: DDP demands it."""
    step = stage.step(batch, 0)
    loss = stage(step, stage.weights(step)).loss
    trained = [tensor for tensor in stage.parameters() if tensor.requires_grad]
    for tensor, gradient in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True):
        tensor.requires_grad_(gradient is not None)


def steps(
    collectives: Collectives, names: Sequence[str], size: int | None, trained_encoder: bool = False, count: int = 1
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Take steps with plain descent; give what each logs, averaged over ranks, and the parameters and last gradients.

    `size` is the micro-batch's.
    """
    here = Engine(torch.device("cpu"), collectives, None)
    stage = stage_of(collectives, names, trained_encoder)
    freeze_what_is_not_reached(stage, share(batch_of(0), collectives))
    model, logged = here.distribute(stage), []
    trained = {name: tensor for name, tensor in stage.named_parameters() if tensor.requires_grad}
    for number in range(count):
        for tensor in trained.values():
            tensor.grad = None
        loss = backward(here, model, share(batch_of(number), collectives), number, size)
        values = {"loss": loss.loss, **loss.terms, **loss.metrics}
        logged.append({name: collectives.sum(value) / collectives.world_size for name, value in values.items()})
        with torch.no_grad():
            for tensor in trained.values():
                assert tensor.grad is not None
                tensor -= 0.1 * tensor.grad
    gradients = {f"gradient of {name}": tensor.grad for name, tensor in trained.items() if tensor.grad is not None}
    return logged, {**{name: tensor.detach() for name, tensor in trained.items()}, **gradients}


def several_steps(collectives: Collectives, cases: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Take the steps of several cases: starting processes costs more than all of them."""
    return [steps(collectives, *case) for case in cases]
