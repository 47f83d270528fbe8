"""Captions against what people wrote: overlap of words without Java, METEOR and SPICE with it; and their likelihood."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import EVALUATION, TEXT_BRIDGE, Catalog, Generation, Options, hookimpl

if TYPE_CHECKING:
    from mmbridge_registry import Evaluation

InJava = Literal["meteor", "spice"]


class CaptioningOptions(Options):
    """Captioning, scored as COCO and NoCaps are."""

    prompt: str = ""
    """What a caption goes on after; it is not part of it. BLIP-2 finetuned on COCO has `a photo of`."""
    generation: Generation = Generation()
    """How captions are decoded. BLIP-2 on COCO: `{beams: 5, min_new_tokens: 8, max_new_tokens: 30}`."""
    java: tuple[InJava, ...] = ()
    """Also these, by the Java programs in `mmbridge[java]`; SPICE also needs CoreNLP and up to 8 GB of memory."""


class CaptionLikelihoodOptions(Options):
    """How likely the text bridge finds what people wrote of an image (ITG on held-out captions); nothing to set."""


def build_captioning(options: CaptioningOptions) -> "Evaluation":
    """Build the evaluation.

    Raises:
        UserError: Java or a jar that the options need is not there.
    """
    from mmbridge_captioning.evaluation import Captioning

    return Captioning(options)


def build_caption_likelihood(options: CaptionLikelihoodOptions) -> "Evaluation":
    """Build the evaluation."""
    from mmbridge_captioning.likelihood import CaptionLikelihood

    del options
    return CaptionLikelihood()


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the evaluations."""
    catalog.offer(EVALUATION, "captioning", CaptioningOptions, build_captioning)
    catalog.offer(
        EVALUATION, "caption_likelihood", CaptionLikelihoodOptions, build_caption_likelihood, requires=[TEXT_BRIDGE]
    )
