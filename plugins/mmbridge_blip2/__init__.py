"""BLIP-2's checkpoints as other projects write them: folders of transformers and `.pth` files of LAVIS."""

from typing import TYPE_CHECKING

from mmbridge_registry import FORMAT, Catalog, Options, hookimpl

if TYPE_CHECKING:
    from mmbridge_registry import Format


class HuggingFaceOptions(Options):
    """Folders of transformers' `Blip2ForConditionalGeneration`, `Blip2ForImageTextRetrieval` and `Blip2Model`."""


class LavisOptions(Options):
    """Files of LAVIS: stage 1, stage 2, caption and retrieval finetunes."""


def build_hugging_face(options: HuggingFaceOptions) -> "Format":
    """Build the format `hf`."""
    from mmbridge_blip2.hugging_face.format import HuggingFace

    del options
    return HuggingFace()


def build_lavis(options: LavisOptions) -> "Format":
    """Build the format `lavis`."""
    from mmbridge_blip2.lavis.format import Lavis

    del options
    return Lavis()


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the formats `hf` and `lavis`."""
    catalog.offer(FORMAT, "hf", HuggingFaceOptions, build_hugging_face)
    catalog.offer(FORMAT, "lavis", LavisOptions, build_lavis)
