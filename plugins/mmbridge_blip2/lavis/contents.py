"""What lies in a LAVIS file, sorted by part: every tensor is somebody's, or nobody's."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from mmbridge_registry import UserError
from torch import Tensor

from mmbridge_blip2.lavis import bridge as lavis_bridge
from mmbridge_blip2.lavis import encoder as lavis_encoder
from mmbridge_blip2.lavis import tower as lavis_tower
from mmbridge_blip2.lavis.bridge import ALIASES, BridgeSizes
from mmbridge_blip2.lavis.encoder import EncoderSizes
from mmbridge_blip2.lavis.file import LavisFile
from mmbridge_blip2.lavis.shapes import agree, linear, require, size

LanguageModel = Literal["opt", "t5"]
ENCODER = "visual_encoder."
TITLES = {"opt": "OPT", "t5": "FlanT5"}
ENCODERS = {1408: "ViT-g", 1024: "CLIP ViT-L"}
"""LAVIS' two encoders by the width of their features."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a file by part, and the sizes that they tell."""

    file: LavisFile
    bridge: Mapping[str, Tensor]
    sizes: BridgeSizes
    language_model: LanguageModel | None
    projection: Mapping[str, Tensor]
    encoder: Mapping[str, Tensor]
    encoder_sizes: EncoderSizes | None

    @cached_property
    def missing(self) -> list[str]:
        """Tensors of the text branch that are not there."""
        return [name for name in lavis_bridge.text_branch(self.sizes) if name not in self.bridge]

    @property
    def has_text(self) -> bool:
        """Whether anything of the text branch is there."""
        return len(self.missing) < len(lavis_bridge.text_branch(self.sizes))

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Names in the file and what they are called here, with the part in front."""
        places = {name: f"bridge.{name}" for name in self.bridge}
        places |= {alias: f"bridge.{name}" for alias, name in ALIASES.items()}
        places |= {f"{self.language_model}_proj.{name}": f"projection.{name}" for name in self.projection}
        places |= {f"{ENCODER}{name}": f"vision_encoder.{name}" for name in self.encoder}
        return {name: places[name] for name in self.file.tensors if name in places}

    @property
    def unused(self) -> tuple[str, ...]:
        """Tensors that no part here has a place for."""
        return tuple(name for name in self.file.tensors if name not in self.renamed)

    @property
    def title(self) -> str:
        """What people call such a file."""
        parts = [name_of_encoder(self.sizes.encoder_width)]
        if self.encoder_sizes:
            parts[0] += f" at {self.encoder_sizes.image_size} px"
        if self.language_model:
            parts.append(TITLES[self.language_model])
        return ", ".join([f"LAVIS {self._kind}", *parts])

    @property
    def _kind(self) -> str:
        if self.encoder:
            return "caption finetune" if self.language_model else "retrieval finetune"
        stages = ["stage 1"] * self.has_text + ["stage 2"] * bool(self.language_model)
        return " and ".join(stages) or "Q-Former"


def contents_of(file: LavisFile, source: object) -> Contents:
    """Sort the tensors of a file.

    Raises:
        UserError: it lacks what cannot be made up, or its parts do not belong together.
    """
    sizes = lavis_bridge.sizes_of(file.tensors, source)
    known = lavis_bridge.image_branch(sizes) | lavis_bridge.text_branch(sizes)
    bridge = {name: each for name, each in lavis_bridge.bridge_tensors(file.tensors, source).items() if name in known}
    encoder, encoder_sizes = _encoder(file, source)
    if encoder_sizes and encoder_sizes.width != sizes.encoder_width:
        raise UserError(
            f"the encoder in it is {encoder_sizes.width} wide ({name_of_encoder(encoder_sizes.width)}), but its"
            f" Q-Former reads features of {sizes.encoder_width} ({name_of_encoder(sizes.encoder_width)}).",
            where=source,
            do="Give the original file: another encoder means stage 1 again.",
        )
    language_model, projection = _projection(file, sizes.width, source)
    return Contents(file, bridge, sizes, language_model, projection, encoder, encoder_sizes)


def name_of_encoder(width: int) -> str:
    """Name LAVIS' encoder of that width."""
    return ENCODERS.get(width, f"an encoder of width {width}")


def _encoder(file: LavisFile, source: object) -> tuple[dict[str, Tensor], EncoderSizes | None]:
    tensors = {name.removeprefix(ENCODER): tensor for name, tensor in file.tensors.items() if name.startswith(ENCODER)}
    if not tensors:
        return {}, None
    tensors = lavis_tower.kept(tensors)
    sizes = lavis_encoder.sizes_of(tensors, source)
    return {name: tensors[name] for name in lavis_encoder.shapes(sizes)}, sizes


def _projection(file: LavisFile, width: int, source: object) -> tuple[LanguageModel | None, dict[str, Tensor]]:
    found = [name for name in get_args(LanguageModel) if any(key.startswith(f"{name}_proj.") for key in file.tensors)]
    if not found:
        return None, {}
    if found[1:]:
        raise UserError("it has projections to OPT and to T5.", where=source, do="Give a file of one model.")
    name = f"{found[0]}_proj"
    wanted = linear(name, size(file.tensors, f"{name}.weight", 0, 2, source), width)
    require(wanted, file.tensors, source)
    agree(wanted, file.tensors, source)
    return found[0], {key: file.tensors[f"{name}.{key}"] for key in ("weight", "bias")}
