"""Captions against what people wrote: BLEU-1 to 4, ROUGE-L and CIDEr-D, without Java."""

from typing import TYPE_CHECKING

from mmbridge_registry import EVALUATION, Catalog, Generation, Options, hookimpl

if TYPE_CHECKING:
    from mmbridge_registry import Evaluation


class CaptioningOptions(Options):
    """Captioning, scored as COCO and NoCaps are."""

    prompt: str = ""
    """What a caption goes on after; it is not part of it. BLIP-2 finetuned on COCO has `a photo of`."""
    generation: Generation = Generation()
    """How captions are decoded. BLIP-2 on COCO: `{beams: 5, min_new_tokens: 8, max_new_tokens: 30}`."""


def build_captioning(options: CaptioningOptions) -> "Evaluation":
    """Build the evaluation."""
    from mmbridge_captioning.evaluation import Captioning

    return Captioning(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the evaluation."""
    catalog.offer(EVALUATION, "captioning", CaptioningOptions, build_captioning)
