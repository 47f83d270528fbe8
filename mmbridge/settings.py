"""Settings: what a recipe says of the framework's own pieces, in which no plugin has a part. Torch-free."""

from typing import Literal

from mmbridge_registry import Options
from pydantic import Field, PositiveFloat

Bits = Literal["int8", "float8"]


class Projection(Options):
    """The linear layer between bridge and language model."""

    init: Literal["linear", "token_scale"] = "linear"
    """`linear` is torch's own start, as the original has it; `token_scale` scales it so that soft prompts begin as
    large as the language model's token embeddings (small towers need that)."""


class Quantize(Options):
    """Frozen towers whose linear layers keep their weights in eight bits; what is computed stays in the tower's dtype.

    It changes what is learned: docs/memory.md has the errors.
    """

    vision_encoder: Bits | None = None
    """Bits of the vision encoder's weights; None leaves them as they are stored."""
    language_model: Bits | None = None
    """Bits of the language model's weights."""


class Optimizer(Options):
    """AdamW; no decay for norms, biases and 0-d or 1-d tensors."""

    name: Literal["adamw"] = "adamw"
    """The optimiser."""
    lr: PositiveFloat = 1e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the first and second moment (the paper's 0.98; torch's own default is 0.999)."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled weight decay."""


class Schedule(Options):
    """Linear warm-up, then cosine, both by step."""

    name: Literal["cosine"] = "cosine"
    """The curve after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps from `warmup_lr` to the peak."""
    warmup_lr: float = Field(default=1e-6, ge=0)
    """Learning rate before the first step."""
    min_lr: float = Field(default=0.0, ge=0)
    """Learning rate after the last step."""
