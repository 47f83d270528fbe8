"""Captioners and scorers for CapFilt: BLIP and CLIP as in the BLIP-2 paper, or any run of one's own."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import CAPTIONER, SCORER, Catalog, Dtype, Generation, Options, Weights, hookimpl

if TYPE_CHECKING:
    from mmbridge_registry import Captioner, Scorer
    from mmbridge_registry.captioner import Load

DRAWN = Generation(sample=True, top_p=0.9, min_new_tokens=5, max_new_tokens=20, repetition_penalty=1.1)
"""How BLIP's captions are drawn."""


class BlipOptions(Options):
    """BLIP as transformers has it (`BlipForConditionalGeneration`)."""

    weights: Weights = "Salesforce/blip-image-captioning-large"
    """A folder of transformers, a hub id that was fetched, or `random`: BLIP-large's geometry."""
    tokenizer: Weights | None = None
    """A BERT tokenizer's folder; None takes the one that comes with the weights, which `random` ones lack."""
    prompt: str = "a picture of"
    """What captions go on after; it is not part of them."""
    generation: Generation = DRAWN
    """How captions are drawn: nucleus sampling, as BLIP makes synthetic captions."""
    dtype: Dtype = "float32"
    """Storage and compute type."""


class RunCaptionerOptions(Options):
    """A run of mmbridge as captioner, or another checkpoint that mmbridge can load."""

    path: str
    """The run's folder, an imported one, or a checkpoint of a known format."""
    stage: str | None = None
    """Stage whose weights are taken; None is the last."""
    prompt: str = ""
    """What captions go on after."""
    generation: Generation = Generation(sample=True, top_p=0.9, max_new_tokens=20)
    """How captions are drawn."""


class OpenClipOptions(Options):
    """Cosine of image and text by an open_clip model."""

    weights: Weights = "timm/vit_large_patch14_clip_224.openai"
    """An open_clip folder with safetensors, a hub id that was fetched, or `random`."""
    architecture: str = "ViT-L-14-quickgelu"
    """Geometry of `random` weights, by open_clip's name; a folder says its own."""
    dtype: Dtype = "float32"
    """Storage and compute type."""


class RunScorerOptions(Options):
    """A run of mmbridge as scorer, or another checkpoint that mmbridge can load; its bridge must read text."""

    path: str
    """The run's folder, an imported one, or a checkpoint of a known format."""
    stage: str | None = None
    """Stage whose weights are taken; None is the last."""
    by: Literal["itc", "itm"] = "itc"
    """`itc` is the largest cosine over queries, `itm` the probability of a match."""


def build_blip(options: BlipOptions, load: "Load", device: str) -> "Captioner":
    """Build BLIP."""
    from mmbridge_capfilt.blip import Blip

    return Blip(options, device)


def build_run_captioner(options: RunCaptionerOptions, load: "Load", device: str) -> "Captioner":
    """Open a run that captions."""
    from mmbridge_capfilt.runs import RunCaptioner

    return RunCaptioner(options, load(options.path, options.stage))


def build_open_clip(options: OpenClipOptions, load: "Load", device: str) -> "Scorer":
    """Build an open_clip model."""
    from mmbridge_capfilt.clip import OpenClip

    return OpenClip(options, device)


def build_run_scorer(options: RunScorerOptions, load: "Load", device: str) -> "Scorer":
    """Open a run that scores."""
    from mmbridge_capfilt.runs import RunScorer

    return RunScorer(options, load(options.path, options.stage))


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer two captioners and two scorers."""
    catalog.offer(CAPTIONER, "blip", BlipOptions, build_blip)
    catalog.offer(CAPTIONER, "run", RunCaptionerOptions, build_run_captioner)
    catalog.offer(SCORER, "open_clip", OpenClipOptions, build_open_clip)
    catalog.offer(SCORER, "run", RunScorerOptions, build_run_scorer)
