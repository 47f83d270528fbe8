"""The model: a vision encoder, a bridge, and perhaps a language model; and what one stage does with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from mmbridge_registry import Batch, Bridge, LanguageModel, Objective, VisionEncoder
from mmbridge_registry.bridge import Pass
from torch import Tensor, nn

from mmbridge.collectives import Collectives
from mmbridge.step import StepOfBatch


class BridgedModel(nn.Module):
    """Frozen towers and the bridge between them."""

    def __init__(
        self,
        vision_encoder: VisionEncoder,
        bridge: Bridge,
        language_model: LanguageModel | None = None,
        projection_init: str = "linear",
    ) -> None:
        super().__init__()
        self.vision_encoder = vision_encoder
        self.bridge = bridge
        self.language_model = language_model
        self.projection = None if language_model is None else nn.Linear(bridge.width, language_model.width)
        self.learned: set[str] = set()
        """Names of tensors that some stage has trained, here or where they were loaded from."""
        self.in_step: frozenset[Pass] | None = None
        """Passes of the bridge that the last stage which trained it trained together; None if it is not known. The
        others were left behind: queries that have moved on no longer fit a text half that has not."""
        if language_model is not None and projection_init == "token_scale":
            self._start_at(language_model.token_scale)

    @torch.no_grad()
    def _start_at(self, scale: float) -> None:
        """Scale the projection so that queries of unit variance become soft prompts of root mean square `scale`."""
        assert self.projection is not None
        nn.init.normal_(self.projection.weight, std=scale / self.bridge.width**0.5)
        nn.init.zeros_(self.projection.bias)

    @property
    def device(self) -> torch.device:
        """Where the trained parts live."""
        return next(self.bridge.parameters()).device

    def soft_prompt(self, features: Tensor) -> Tensor:
        """Turn encoder features [B,N,W] into soft prompts [B,Q,E]."""
        if self.projection is None:
            raise TypeError("a model without a language model has no soft prompt")
        return self.projection(self.bridge(features))

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor of the model's state once; tied ones (word table and decoder head) by their first name."""
        seen: dict[int, str] = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            seen.setdefault(id(tensor), name)
        return {name: tensor for name, tensor in self.state_dict(keep_vars=True).items() if seen[id(tensor)] == name}

    def kept(self) -> dict[str, Tensor]:
        """Give what a checkpoint holds: the bridge whole, and whatever else was trained so far."""
        return {
            name: tensor
            for name, tensor in self.tensors().items()
            if name.startswith("bridge.") or name in self.learned
        }

    def train(self, mode: bool = True) -> "BridgedModel":
        """Set training mode where something is trained; frozen parts stay in eval, dropout off."""
        self.training = mode
        for part in self.children():
            part.train(mode and any(parameter.requires_grad for parameter in part.parameters()))
        return self


@dataclass(frozen=True)
class StageLoss:
    """The sum of a stage's objectives, for backward, and what to log.

    A micro-batch's losses are its share of the global batch's (`Step.mean`): they are added. Metrics are averaged.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]

    @classmethod
    def of(cls, parts: "Sequence[StageLoss]") -> "StageLoss":
        """Join the micro-batches of a step, detached."""
        terms = {name: torch.stack([part.terms[name] for part in parts]).sum() for name in parts[0].terms}
        metrics = {name: torch.stack([part.metrics[name] for part in parts]).mean() for name in parts[0].metrics}
        return cls(torch.stack([part.loss.detach() for part in parts]).sum(), terms, metrics)


class StageModel(nn.Module):
    """A model with one stage's objectives; one forward computes all losses, so that DDP synchronises them."""

    def __init__(self, model: BridgedModel, objectives: Mapping[str, Objective], collectives: Collectives, seed: int):
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)
        self.collectives = collectives
        self.seed = seed

    def forward(self, batch: Batch, number: int, micro_batches: int = 1) -> StageLoss:
        """Compute the stage's loss on this rank's rows of step `number`."""
        step = StepOfBatch(
            batch=batch,
            vision_encoder=self.model.vision_encoder,
            bridge=self.model.bridge,
            projection=self.model.projection,
            language_model=self.model.language_model,
            collectives=self.collectives,
            seed=self.seed,
            step_number=number,
            micro_batches=micro_batches,
        )
        results = {name: objective(step) for name, objective in self.objectives.items()}
        return StageLoss(
            torch.stack([result.loss for result in results.values()]).sum(),
            {name: result.loss.detach() for name, result in results.items()},
            {
                f"{name}/{key}": value.detach().float()
                for name, result in results.items()
                for key, value in result.metrics.items()
            },
        )
