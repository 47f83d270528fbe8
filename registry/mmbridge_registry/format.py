"""The contract of formats: checkpoints that other projects write and read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from mmbridge_registry.bridge import Bridge
from mmbridge_registry.language_model import LanguageModel
from mmbridge_registry.published import Published
from mmbridge_registry.vision_encoder import VisionEncoder


@dataclass(frozen=True)
class Imported:
    """A checkpoint of another project in this framework's words; the framework builds and fills the parts."""

    title: str
    """What was recognised, as people call it ("LAVIS stage 2, ViT-g, OPT")."""
    model: Mapping[str, Any]
    """The `model:` section of a config. Weights that the source does not hold are named by hub id; parts in `towers`
    have no `weights` here. An option that cannot be known and must be, is None: the user is asked for it."""
    bridge: Mapping[str, Tensor]
    """The bridge's tensors, by the names of its own `published()`; what is missing, the source does not hold."""
    projection: Mapping[str, Tensor]
    """`weight` [E,D] and `bias` [E], or empty."""
    towers: Mapping[str, Published]
    """Towers that the source holds, by key of `model` (`vision_encoder`, `language_model`)."""
    tokenizer: Path | None = None
    """Folder of the bridge's own tokenizer, if the source holds it."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Name in the source -> name in the part's published layout, with the part in front (`bridge.temp`)."""
    unused: tuple[str, ...] = ()
    """Tensors of the source for which there is no place here."""
    notes: tuple[str, ...] = ()
    """What else was put in place of something, widened, or must be known; a sentence each."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what it could not."""

    title: str
    """What was written, as people call it."""
    renamed: Mapping[str, str]
    """Name here -> name there."""
    lost: tuple[str, ...] = ()
    """What has no place there: a tensor or a setting each, with what becomes of it."""
    notes: tuple[str, ...] = ()
    """What else must be known; a sentence each."""


class Assembled(Protocol):
    """A whole model, as an export sees it."""

    vision_encoder: VisionEncoder
    bridge: Bridge
    projection: nn.Linear | None
    language_model: LanguageModel | None
    learned: set[str]
    """Names (`bridge.queries`, `projection.weight`, ...) of tensors that some stage has trained."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor once, by its name in the whole model."""
        ...


class Format(ABC):
    """A checkpoint format of another project. Nothing is ever unpickled, except LAVIS' files by `weights_only=True`."""

    @abstractmethod
    def recognises(self, source: Path) -> bool:
        """Whether a file or folder is of this format, judged by keys and config, never by its name."""

    @abstractmethod
    def read(self, source: Path) -> Imported:
        """Read a source that was recognised.

        Raises:
            UserError: it is cut short, hostile, lacks what cannot be made up, or says what no part here can do.
        """

    @abstractmethod
    def write(self, model: Assembled, destination: Path, card: str) -> Exported:
        """Write the model to `destination`, which does not exist yet; `card` is Markdown about where it comes from.

        Raises:
            UserError: a part does not fit this format; the message says why.
        """
