"""Batches and stage-1 losses on the toy bridge, whole on one process or by ranks."""

from dataclasses import replace
from typing import Any

import torch
from mmbridge_objectives import ContrastOptions, GenerationOptions, MatchOptions, build_itc, build_itg, build_itm
from mmbridge_registry import Batch, Tokens
from torch import Tensor
from toys.text_bridge import VOCABULARY, ToyBridge, ToyEncoder

from mmbridge.collectives import Collectives
from mmbridge.engine import Engine
from mmbridge.micro_batches import backward
from mmbridge.model import BridgedModel, StageModel
from mmbridge.step import Setting, StepOfBatch

GATHERS = ("exact", "nograd")


def toy_batch(rows: int, image_ids: list[int] | None = None, seed: int = 0) -> Batch:
    """Give a batch whose captions have 2 to 9 tokens, long ones first."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.linspace(9, 2, rows).round().long()
    mask = torch.arange(9) < lengths[:, None]
    ids = torch.randint(1, VOCABULARY, (rows, 9), generator=draw) * mask
    return Batch(
        pixels=torch.randn(rows, 3, 2, 2, generator=draw),
        image_ids=torch.tensor(image_ids) if image_ids else torch.arange(rows),
        positions=torch.arange(rows) + 1000,
        prepared={"captions": Tokens(ids, mask)},
    )


def share(batch: Batch, collectives: Collectives) -> Batch:
    """Give a rank's rows, their captions as wide as the longest among them."""
    rows = len(batch) // collectives.world_size
    own = list(batch.split(rows))[collectives.rank]
    captions = own.prepared["captions"]
    assert isinstance(captions, Tokens)
    width = int(captions.mask.sum(1).max())
    return replace(
        own, prepared={**own.prepared, "captions": Tokens(captions.ids[:, :width], captions.mask[:, :width])}
    )


def toy_step(batch: Batch, collectives: Collectives | None = None, **changes: Any) -> StepOfBatch:
    """Give a step of a new toy model."""
    torch.manual_seed(1)
    setting = Setting(ToyEncoder(), ToyBridge(), None, None, collectives or Collectives(), seed=3, step_number=7)
    return StepOfBatch(batch, replace(setting, **changes))


def stage1_model(
    collectives: Collectives, dtype: torch.dtype, gather: Any, trained_encoder: bool = False
) -> StageModel:
    """Give a new toy model with the three objectives."""
    torch.manual_seed(1)
    objectives = {
        "itc": build_itc(ContrastOptions(gather=gather)),
        "itg": build_itg(GenerationOptions()),
        "itm": build_itm(MatchOptions()),
    }
    model = BridgedModel(ToyEncoder(trained_encoder), ToyBridge()).to(dtype)
    return StageModel(model, objectives, collectives, seed=3)


def losses_and_gradients(
    collectives: Collectives,
    batch: Batch,
    dtype: torch.dtype,
    gather: str,
    trained_encoder: bool = False,
    size: int | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Take one step by DDP (alone: without); metrics are averaged over the ranks, as gradients are."""
    stage = stage1_model(collectives, dtype, gather, trained_encoder)
    here = Engine(torch.device("cpu"), collectives, None)
    result = backward(here, here.distribute(stage), share(batch, collectives), 7, size)
    logged = {"loss": result.loss, **result.terms, **result.metrics}
    metrics = {name: collectives.sum(value) / collectives.world_size for name, value in logged.items()}
    return metrics, {name: p.grad for name, p in stage.named_parameters() if p.grad is not None}


def several_cases(collectives: Collectives, cases: list[tuple[Any, ...]]) -> list[Any]:
    """Take one step for each case: starting processes costs more than all of them."""
    return [losses_and_gradients(collectives, *case) for case in cases]
