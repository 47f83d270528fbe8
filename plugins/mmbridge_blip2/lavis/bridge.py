"""The Q-Former in LAVIS' files: its sizes, what belongs to which branch, what is stored twice."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from mmbridge_registry import UserError
from torch import Tensor

from mmbridge_blip2.lavis.shapes import Shapes, agree, count, linear, norm, require, size

BERT, PREDICTIONS = "Qformer.bert.", "Qformer.cls.predictions"
LAYERS, EMBEDDINGS = f"{BERT}encoder.layer.", f"{BERT}embeddings"
WORDS, TEXT_POSITIONS = f"{EMBEDDINGS}.word_embeddings.weight", f"{EMBEDDINGS}.position_embeddings.weight"

ALIASES = {f"{PREDICTIONS}.decoder.weight": WORDS, f"{PREDICTIONS}.decoder.bias": f"{PREDICTIONS}.bias"}
"""Second names of tied tensors, and the first."""
POSITION_IDS = f"{EMBEDDINGS}.position_ids"
"""A buffer [1,positions] that counts from 0. Nobody learns it, and LAVIS stores it in every file."""

CONTRASTIVE = tuple(
    (f"{side}_proj.{kind}", 0, axes) for side in ("vision", "text") for kind, axes in (("bias", 1), ("weight", 2))
)
"""Where the width of the contrastive space is read: name, axis, number of axes."""

OUTSIDE = ("query_tokens", "ln_vision.", "Qformer.", "vision_proj.", "text_proj.", "itm_head.", "temp")
"""Beginnings of the Q-Former's names."""


@dataclass(frozen=True)
class BridgeSizes:
    """What the tensors tell; None is what only tensors tell that this file has not."""

    encoder_width: int
    queries: int
    layers: int
    width: int
    intermediate: int
    cross_attention_every: int
    positions: int | None
    vocabulary: int | None
    contrastive_width: int | None


def bridge_tensors(state: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """Take the Q-Former's tensors out of a file, each once; position ids are looked at and left.

    Raises:
        UserError: a tied tensor differs from its twin, or text positions do not count from 0.
    """
    tensors = {name: tensor for name, tensor in state.items() if name.startswith(OUTSIDE)}
    for alias, name in ALIASES.items():
        twin = tensors.pop(alias, None)
        if twin is not None and not torch.equal(tensors.setdefault(name, twin), twin):
            raise UserError(f"{alias} differs from {name}, to which it is tied.", where=source)
    ids = tensors.pop(POSITION_IDS, None)
    if ids is not None and not torch.equal(ids.flatten(), torch.arange(ids.numel())):
        raise UserError(f"{POSITION_IDS} does not count from 0.", where=source)
    return tensors


def sizes_of(state: Mapping[str, Tensor], source: object) -> BridgeSizes:
    """Read the sizes off the tensors of a file.

    Raises:
        UserError: a tensor is missing of those that every file must have, or has another shape than the rest want.
    """
    tensors = bridge_tensors(state, source)
    known = {**state, **tensors}

    def first(*places: tuple[str, int, int]) -> int | None:
        return next((size(known, *place, source) for place in places if place[0] in known), None)

    sizes = BridgeSizes(
        encoder_width=size(tensors, "ln_vision.weight", 0, 1, source),
        queries=size(tensors, "query_tokens", 1, 3, source),
        layers=count(tensors, LAYERS, source),
        width=size(tensors, "query_tokens", 2, 3, source),
        intermediate=size(tensors, f"{LAYERS}0.intermediate_query.dense.weight", 0, 2, source),
        cross_attention_every=_every(tensors, source),
        positions=first((TEXT_POSITIONS, 0, 2), (POSITION_IDS, 1, 2)),
        vocabulary=first((WORDS, 0, 2), (f"{PREDICTIONS}.bias", 0, 1)),
        contrastive_width=first(*CONTRASTIVE),
    )
    require(image_branch(sizes), tensors, source)
    agree(image_branch(sizes) | text_branch(sizes) | {POSITION_IDS: (1, sizes.positions)}, known, source)
    return sizes


def image_branch(sizes: BridgeSizes) -> Shapes:
    """What reads images: all of a stage-2 file but the projection."""
    shapes: Shapes = {
        "query_tokens": (1, sizes.queries, sizes.width),
        **norm("ln_vision", sizes.encoder_width),
        **norm(f"{EMBEDDINGS}.LayerNorm", sizes.width),
    }
    for number in range(sizes.layers):
        shapes |= _attention(f"{LAYERS}{number}.attention", sizes.width, sizes.width)
        if number % sizes.cross_attention_every == 0:
            shapes |= _attention(f"{LAYERS}{number}.crossattention", sizes.width, sizes.encoder_width)
        shapes |= _feed_forward(number, "_query", sizes)
    return shapes


def text_branch(sizes: BridgeSizes) -> Shapes:
    """What reads and writes text, and the heads of stage 1; LAVIS deletes all of it before stage 2."""
    shapes: Shapes = {
        WORDS: (sizes.vocabulary, sizes.width),
        TEXT_POSITIONS: (sizes.positions, sizes.width),
        f"{PREDICTIONS}.bias": (sizes.vocabulary,),
        **linear(f"{PREDICTIONS}.transform.dense", sizes.width, sizes.width),
        **norm(f"{PREDICTIONS}.transform.LayerNorm", sizes.width),
        **linear("vision_proj", sizes.contrastive_width, sizes.width),
        **linear("text_proj", sizes.contrastive_width, sizes.width),
        **linear("itm_head", 2, sizes.width),
        "temp": (),
    }
    for number in range(sizes.layers):
        shapes |= _feed_forward(number, "", sizes)
    return shapes


def _attention(name: str, width: int, seen: int) -> Shapes:
    return {
        **linear(f"{name}.self.query", width, width),
        **linear(f"{name}.self.key", width, seen),
        **linear(f"{name}.self.value", width, seen),
        **linear(f"{name}.output.dense", width, width),
        **norm(f"{name}.output.LayerNorm", width),
    }


def _feed_forward(number: int, suffix: str, sizes: BridgeSizes) -> Shapes:
    layer = f"{LAYERS}{number}"
    return {
        **linear(f"{layer}.intermediate{suffix}.dense", sizes.intermediate, sizes.width),
        **linear(f"{layer}.output{suffix}.dense", sizes.width, sizes.intermediate),
        **norm(f"{layer}.output{suffix}.LayerNorm", sizes.width),
    }


def _every(tensors: Mapping[str, Tensor], source: object) -> int:
    """Find n such that layers 0, n, 2n, ... look at the image."""
    layers = count(tensors, LAYERS, source)
    looking = sorted({int(name.split(".")[4]) for name in tensors if ".crossattention." in name})
    every = (looking[1] if len(looking) > 1 else layers) if looking else 0
    if not every or looking != list(range(0, layers, every)):
        raise UserError(f"layers {looking} look at the image, which is no regular pattern from 0.", where=source)
    return every
