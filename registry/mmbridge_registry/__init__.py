"""The contract of mmbridge: abstract parts, the hook that offers them, the catalog that finds them.

Importing this package does not import torch. Names that need torch (`VisionEncoder`, `Step`, ...) are loaded when
they are first asked for, so a plugin's `__init__.py` can import from here and stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmbridge_registry.captioner import Captioner, Scorer
from mmbridge_registry.catalog import Catalog, Offer, Plugin, PublishedFile
from mmbridge_registry.dataset import Dataset
from mmbridge_registry.errors import MmbridgeError, PluginError, UserError
from mmbridge_registry.hooks import API_VERSION, hookimpl
from mmbridge_registry.kinds import (
    BRIDGE,
    CAPTIONER,
    DATASET,
    DECODER,
    ENCODER_DECODER,
    EVALUATION,
    FORMAT,
    GENERATES,
    LANGUAGE_MODEL,
    OBJECTIVE,
    SCORER,
    TEXT_BRIDGE,
    TRACKER,
    VISION_ENCODER,
)
from mmbridge_registry.options import RANDOM, AnnotationFile, Dtype, Generation, Options, Weights
from mmbridge_registry.record import Record
from mmbridge_registry.tracker import TrackedRun, Tracker

if TYPE_CHECKING:
    from mmbridge_registry.bridge import Bridge, ImageState, TextBridge
    from mmbridge_registry.evaluation import (
        EncodedImages,
        Evaluated,
        Evaluation,
        Matched,
        Metric,
        VisionLanguage,
    )
    from mmbridge_registry.examples import Example, Found, Heatmap
    from mmbridge_registry.format import Assembled, Exported, Format, Imported
    from mmbridge_registry.language_model import LanguageModel, LanguageTokens, TokenLoss
    from mmbridge_registry.objective import Draft, Objective, ObjectiveLoss, Sample
    from mmbridge_registry.published import Published
    from mmbridge_registry.step import Batch, Similarity, Step
    from mmbridge_registry.tokens import Tokens
    from mmbridge_registry.vision_encoder import VisionEncoder

_NEEDS_TORCH = {
    "bridge": ("Bridge", "ImageState", "TextBridge"),
    "evaluation": ("EncodedImages", "Evaluated", "Evaluation", "Matched", "Metric", "VisionLanguage"),
    "examples": ("Example", "Found", "Heatmap"),
    "format": ("Assembled", "Exported", "Format", "Imported"),
    "language_model": ("LanguageModel", "LanguageTokens", "TokenLoss"),
    "objective": ("Draft", "Objective", "ObjectiveLoss", "Sample"),
    "published": ("Published",),
    "step": ("Batch", "Similarity", "Step"),
    "tokens": ("Tokens",),
    "vision_encoder": ("VisionEncoder",),
}
_HOME = {name: module for module, names in _NEEDS_TORCH.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


__all__ = [
    "API_VERSION",
    "BRIDGE",
    "CAPTIONER",
    "DATASET",
    "DECODER",
    "ENCODER_DECODER",
    "EVALUATION",
    "FORMAT",
    "GENERATES",
    "LANGUAGE_MODEL",
    "OBJECTIVE",
    "RANDOM",
    "SCORER",
    "TEXT_BRIDGE",
    "TRACKER",
    "VISION_ENCODER",
    "AnnotationFile",
    "Assembled",
    "Batch",
    "Bridge",
    "Captioner",
    "Catalog",
    "Dataset",
    "Draft",
    "Dtype",
    "EncodedImages",
    "Evaluated",
    "Evaluation",
    "Example",
    "Exported",
    "Format",
    "Found",
    "Generation",
    "Heatmap",
    "ImageState",
    "Imported",
    "LanguageModel",
    "LanguageTokens",
    "Matched",
    "Metric",
    "MmbridgeError",
    "Objective",
    "ObjectiveLoss",
    "Offer",
    "Options",
    "Plugin",
    "PluginError",
    "Published",
    "PublishedFile",
    "Record",
    "Sample",
    "Scorer",
    "Similarity",
    "Step",
    "TextBridge",
    "TokenLoss",
    "Tokens",
    "TrackedRun",
    "Tracker",
    "UserError",
    "VisionEncoder",
    "VisionLanguage",
    "Weights",
    "hookimpl",
]
