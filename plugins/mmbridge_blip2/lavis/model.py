"""The `model:` section of a config for what lies in a LAVIS file. What LAVIS fixes in its code stands here."""

from typing import Any

from mmbridge_blip2.lavis.contents import Contents
from mmbridge_blip2.lavis.encoder import HEAD, EncoderSizes
from mmbridge_blip2.lavis.layouts import CLIP, EVA
from mmbridge_blip2.lavis.tower import dtype_of

BRIDGE_EPS = {"norm_eps": 1e-12, "image_norm_eps": 1e-5}
"""Epsilons of the Q-Former's own norms, and of the norm over the encoder's features."""
VOCABULARY = 30_523
"""bert-base-uncased and [DEC]."""
LANGUAGE_MODELS = {
    ("opt", 2560): "facebook/opt-2.7b",
    ("opt", 4096): "facebook/opt-6.7b",
    ("t5", 2048): "google/flan-t5-xl",
    ("t5", 4096): "google/flan-t5-xxl",
}
"""LAVIS' language models by the width of the projection."""
DTYPES = {"vision_encoder": "float16", "opt": "float16", "t5": "bfloat16"}
"""Types in which LAVIS computes its frozen towers."""


def model_section(contents: Contents) -> dict[str, dict[str, Any]]:
    """Describe the parts; weights that the file does not hold are named, or None."""
    model = {"vision_encoder": _vision_encoder(contents), "bridge": _bridge(contents)}
    if contents.language_model is not None:
        model["language_model"] = _language_model(contents)
    return model


def heads_of(contents: Contents) -> int | None:
    """Heads of the Q-Former: what an export of ours noted, else 64 wide as BERT's; None if that does not fit."""
    return _heads(contents, "heads", contents.sizes.width, 64)


def encoder_heads_of(contents: Contents, sizes: EncoderSizes) -> int | None:
    """Heads of the encoder inside, in the same way: 88 wide in ViT-g, 64 in CLIP."""
    return _heads(contents, "encoder_heads", sizes.width, HEAD[sizes.family])


def _heads(contents: Contents, noted: str, width: int, usual: int) -> int | None:
    likely = (int(contents.file.settings.get(noted, 0)), width // usual if width % usual == 0 else 0)
    return next((heads for heads in likely if heads and width % heads == 0), None)


def _vision_encoder(contents: Contents) -> dict[str, Any]:
    names = {"eva": "eva_vit_g", "clip": "clip_vit"}
    if contents.encoder_sizes:
        dtype = dtype_of(contents.encoder)
        return {"name": names[contents.encoder_sizes.family], "output_layer": -1, "dtype": dtype}
    width = contents.sizes.encoder_width
    name = names["clip" if width == 1024 else "eva"]
    return {"name": name, "weights": {1408: EVA, 1024: CLIP}.get(width), "dtype": DTYPES["vision_encoder"]}


def _bridge(contents: Contents) -> dict[str, Any]:
    sizes = contents.sizes
    known = {
        "tokenizer": "google-bert/bert-base-uncased" if sizes.vocabulary == VOCABULARY else None,
        "positions": sizes.positions,
        "vocabulary": sizes.vocabulary,
        "contrastive_width": sizes.contrastive_width,
        # The option's own default is longer than what a tiny table can hold.
        "max_text_length": sizes.positions if sizes.positions and sizes.positions < 32 else None,
    }
    return {
        "name": "qformer",
        "queries": sizes.queries,
        "layers": sizes.layers,
        "width": sizes.width,
        "heads": heads_of(contents),
        "intermediate": sizes.intermediate,
        "cross_attention_every": sizes.cross_attention_every,
        **{key: value for key, value in known.items() if value is not None},
        **{key: contents.file.settings.get(key, eps) for key, eps in BRIDGE_EPS.items()},
    }


def _language_model(contents: Contents) -> dict[str, Any]:
    kind = contents.language_model
    assert kind is not None  # only then is there such a section
    weights = LANGUAGE_MODELS.get((kind, len(contents.projection["weight"])))
    return {"name": {"opt": "opt", "t5": "flan_t5"}[kind], "weights": weights, "dtype": DTYPES[kind]}
