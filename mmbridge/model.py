"""The model: a vision encoder, a bridge, and perhaps a language model; and what one stage does with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from mmbridge_registry import Batch, Bridge, LanguageModel, Objective, ObjectiveLoss, VisionEncoder
from mmbridge_registry.bridge import Pass
from torch import Tensor, nn

from mmbridge.collectives import Collectives
from mmbridge.step import Setting, StepOfBatch


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
    """The sum of a stage's objectives, for backward, and what to log: shares of means over the global batch.

    Averaged over ranks (as DDP averages gradients) and added over micro-batches, they are those means.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]

    @classmethod
    def added(cls, parts: "Sequence[StageLoss]") -> "StageLoss":
        """Add up what is logged of the micro-batches of a step, detached."""
        terms, metrics = _added([part.terms for part in parts]), _added([part.metrics for part in parts])
        return cls(torch.stack(list(terms.values())).sum(), terms, metrics)


def _added(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: torch.stack([part[name] for part in parts if name in part]).sum() for name in names}


class StageModel(nn.Module):
    """A model with one stage's objectives; one forward computes all losses, so that DDP synchronises them."""

    def __init__(self, model: BridgedModel, objectives: Mapping[str, Objective], collectives: Collectives, seed: int):
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)
        self.collectives = collectives
        self.seed = seed

    def step(self, batch: Batch, number: int) -> StepOfBatch:
        """Give step `number` on this rank's rows."""
        model = self.model
        towers = (model.vision_encoder, model.bridge, model.projection, model.language_model)
        return StepOfBatch(batch, Setting(*towers, self.collectives, self.seed, number))

    def objective(self, name: str) -> Objective:
        """Give an objective by its name."""
        return cast(Objective, self.objectives[name])

    def weights(self, step: StepOfBatch) -> dict[str, Tensor]:
        """Weigh the objectives' sums over the rows of `step`, which are all of this rank's.

        A weight is one over the count of the global batch, times the number of ranks, over which DDP averages.
        """
        device = step.batch.image_ids.device
        counts = [self.objective(name).count(step) for name in self.objectives]
        counted = torch.stack([torch.as_tensor(count, dtype=torch.float64, device=device) for count in counts])
        weights = self.collectives.world_size / self.collectives.sum(counted).clamp(min=1)
        return dict(zip(self.objectives, weights, strict=True))

    def forward(self, step: StepOfBatch, weights: Mapping[str, Tensor]) -> StageLoss:
        """Compute the objectives that have weights, on the rows of `step`."""
        # Embeddings come first, as they did without graph: dropout is drawn in the same order again.
        carried = step.carried_gradient()
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        for name, weight in weights.items():
            result: ObjectiveLoss = self.objectives[name](step)
            terms[name] = result.total * weight.to(result.total.dtype)
            for key, value in result.metrics.items():
                metrics[f"{name}/{key}"] = value.detach().float() * weight.float()
        loss = torch.stack([*terms.values(), *carried]).sum()
        return StageLoss(loss, {name: term.detach() for name, term in terms.items()}, metrics)
