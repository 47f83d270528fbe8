"""A little model of stub parts, discovered from nowhere: the mechanics of configs need no real plugin."""

from typing import Any, Literal

from mmbridge_registry import (
    BRIDGE,
    DATASET,
    DECODER,
    ENCODER_DECODER,
    EVALUATION,
    GENERATES,
    LANGUAGE_MODEL,
    OBJECTIVE,
    TEXT_BRIDGE,
    VISION_ENCODER,
    Catalog,
    Dtype,
    Generation,
    Options,
    Plugin,
    Weights,
)
from mmbridge_registry.discovery import Discovered
from pydantic import Field, field_validator

STUB = Plugin("stub", "stub", "stub-parts", "1.2")

CONFIG = """\
# A little config. It is for tests.
model:
  vision_encoder: {name: eye, weights: random, width: 6}
  bridge: {name: textual, queries: 4}
  language_model:
    name: seq2seq
    weights: random
data:
  pairs: {path: pairs.csv, weight: 3}
  more: {name: pairs, path: more.csv}
stages:
  representation:
    train: [bridge]
    objectives: {itc: {smoothing: 0.1}, itm: {}}
    steps: 10
    batch_size: 8
    optimizer: {lr: 1e-4}
  generation:
    train: [bridge, projection]
    objectives:
      prefix_lm:
    data: {pairs: 1, more: 0.5}
    steps: 20
    batch_size: 4
    micro_batch_size: 2
evaluate:
  recall: {stages: [representation], data: {name: pairs, path: test.csv}, k: 5}
  captions: {stages: [generation], every: 5, data: {name: pairs, path: test.csv}}
run: {seed: 3}
"""


class Eye(Options):
    """An encoder."""

    weights: Weights = "random"
    """Weights."""
    width: int = 8
    """Width."""
    dtype: Dtype = "float32"
    """Storage."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Crop."""


class BridgeOptions(Options):
    """A bridge."""

    queries: int = Field(4, ge=1)
    """Queries."""
    init: Weights | None = None
    """Start."""

    @field_validator("queries")
    @classmethod
    def _not_seven(cls, queries: int) -> int:
        if queries == 7:
            raise ValueError("seven is right out")
        if queries == 13:
            raise RuntimeError("a bug in the plugin")
        return queries


class Tower(Options):
    """A language model."""

    weights: Weights
    """Weights."""
    api_token: str | None = None
    """A secret."""
    max_new_tokens: int = 30
    """Not a secret."""


class Nothing(Options):
    """No options."""


class Contrast(Options):
    """Contrast."""

    smoothing: float = 0.0
    """Smoothing."""
    gather: Literal["exact", "nograd"] = "exact"
    """Gather."""


class Pairs(Options):
    """Pairs."""

    path: str
    """File."""


class Recall(Options):
    """Recall."""

    k: int = 1
    """k."""


class Captions(Options):
    """Captions."""

    generation: Generation = Generation()
    """Decoding."""
    either: int | str = 1
    """A union."""


def offer_parts(catalog: Catalog) -> None:
    """Offer everything."""
    catalog.offer(VISION_ENCODER, "eye", Eye, build_eye)
    catalog.offer(BRIDGE, "textual", BridgeOptions, build_bridge, provides=[TEXT_BRIDGE])
    catalog.offer(BRIDGE, "plain", BridgeOptions, build_bridge)
    catalog.offer(LANGUAGE_MODEL, "gpt", Tower, build_tower, provides=[DECODER])
    catalog.offer(LANGUAGE_MODEL, "seq2seq", Tower, build_tower, provides=[ENCODER_DECODER])
    catalog.offer(OBJECTIVE, "itc", Contrast, build_contrast, requires=[TEXT_BRIDGE])
    catalog.offer(OBJECTIVE, "itm", Nothing, build_contrast, requires=[TEXT_BRIDGE])
    catalog.offer(OBJECTIVE, "lm", Nothing, build_language, requires=[DECODER])
    catalog.offer(OBJECTIVE, "prefix_lm", Nothing, build_language, requires=[ENCODER_DECODER])
    catalog.offer(DATASET, "pairs", Pairs, _refuse)
    catalog.offer(EVALUATION, "recall", Recall, _refuse, requires=[TEXT_BRIDGE])
    catalog.offer(EVALUATION, "captions", Captions, _refuse, requires=[GENERATES])


def discovered() -> Discovered:
    """Give a discovery that found the stub plugin alone."""
    found = Discovered()
    with found.catalog.of(STUB) as catalog:
        offer_parts(catalog)
    found.plugins.append(STUB)
    return found


def _refuse(options: Options) -> Any:
    raise AssertionError("a config check built a part")


def build_eye(options: Eye) -> Any:
    """Build a linear map [3 -> width] that says which weights it was given."""
    from torch import nn

    eye = nn.Linear(3, options.width)
    eye.width, eye.weights = options.width, options.weights  # type: ignore[assignment]
    return eye


def build_bridge(options: BridgeOptions, encoder_width: int) -> Any:
    """Build a bridge of 5 wide queries, whose `head` is reached by contrast only."""
    import torch
    from mmbridge_registry import Bridge
    from torch import nn

    class StubBridge(Bridge):
        width, num_queries = 5, options.queries

        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.zeros(options.queries, 5))
            self.features = nn.Linear(encoder_width, 5)
            self.head = nn.Linear(5, 2)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.features(features)

        def parameters_for(self, passes: Any) -> Any:
            named = self.named_parameters()
            return ((name, p) for name, p in named if "contrast" in passes or not name.startswith("head"))

    return StubBridge()


def build_tower(options: Tower) -> Any:
    """Build an embedding of 7 wide tokens."""
    from torch import nn

    tower = nn.Embedding(11, 7)
    tower.width = 7  # type: ignore[assignment]
    return tower


def build_contrast(options: Options) -> Any:
    """Build an objective that contrasts."""
    from types import SimpleNamespace

    return SimpleNamespace(passes=frozenset({"contrast"}))


def build_language(options: Options) -> Any:
    """Build an objective that reads queries only."""
    from types import SimpleNamespace

    return SimpleNamespace(passes=frozenset({"image"}))
