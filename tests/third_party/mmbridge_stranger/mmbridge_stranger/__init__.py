"""A stranger's plugin: the vision encoder `stranger_conv` and the language model `stranger_gru`."""

from typing import TYPE_CHECKING

from mmbridge_registry import DECODER, GENERATES, LANGUAGE_MODEL, VISION_ENCODER, Catalog, Options, hookimpl
from pydantic import PositiveInt

if TYPE_CHECKING:
    from mmbridge_registry import LanguageModel, VisionEncoder


class ConvOptions(Options):
    """Two convolutions with random weights."""

    width: PositiveInt = 24
    """Width of the features."""
    patch: PositiveInt = 8
    """Side of a patch in pixels."""
    patches: PositiveInt = 8
    """Patches per side of the image."""
    seed: int = 0
    """Chooses the weights."""


class GruOptions(Options):
    """A recurrent decoder of characters with random weights."""

    width: PositiveInt = 32
    """Width of the embeddings and of the state."""
    seed: int = 0
    """Chooses the weights."""


def build_conv(options: ConvOptions) -> "VisionEncoder":
    """Build the encoder."""
    from mmbridge_stranger.conv import ConvEncoder

    return ConvEncoder(options)


def build_gru(options: GruOptions) -> "LanguageModel":
    """Build the language model."""
    from mmbridge_stranger.gru import GruLanguageModel

    return GruLanguageModel(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer both parts."""
    catalog.offer(VISION_ENCODER, "stranger_conv", ConvOptions, build_conv)
    catalog.offer(LANGUAGE_MODEL, "stranger_gru", GruOptions, build_gru, provides=[DECODER, GENERATES])
