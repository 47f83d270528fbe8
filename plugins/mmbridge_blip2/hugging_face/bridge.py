"""The Q-Former and the norm before it: transformers' names here, LAVIS' in the part's own layout."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmbridge_registry import Assembled, Published, UserError
from mmbridge_registry.published import LAVIS
from torch import Tensor

from mmbridge_blip2.hugging_face.folder import Folder
from mmbridge_blip2.hugging_face.names import BRIDGE, from_hf
from mmbridge_blip2.hugging_face.part import Part, Sorted, name_of
from mmbridge_blip2.hugging_face.settings import agree, count, eps, exact_gelu, heads
from mmbridge_blip2.hugging_face.side_file import EPS, Side
from mmbridge_blip2.lavis import bridge as lavis_bridge
from mmbridge_blip2.lavis.bridge import BridgeSizes

PART = "qformer_config"
LONGEST = 32
"""Tokens of a text, as BLIP-2 was trained with."""
ITG = "Qformer.cls.predictions."
TEMPERATURE = 0.07


def read_bridge(folder: Folder, side: Side) -> Part:
    """Sort the Q-Former's tensors under LAVIS' names; `side` is what an export of ours laid beside them.

    Raises:
        UserError: one is missing or has another shape, or the config lacks or contradicts something.
    """
    found = Sorted("bridge")
    for name, tensor in folder.tensors.items():
        if ours := from_hf(name, BRIDGE):
            found.add(name, ours, tensor)
    for name, tensor in side.tensors.items():
        if name not in found.tensors:
            found.add(side.called(name), name, tensor)
    narrow = sorted({name_of(tensor.dtype) for tensor in found.tensors.values()} - {"float32"})
    sizes = lavis_bridge.sizes_of(found.tensors, folder.path)
    known = lavis_bridge.image_branch(sizes) | lavis_bridge.text_branch(sizes)
    tensors = {name: tensor.to(torch.float32) for name, tensor in found.tensors.items() if name in known}
    renamed = {name: ours for name, ours in found.renamed.items() if ours.removeprefix("bridge.") in known}
    section, notes = _section(folder, side, sizes)
    if narrow:
        notes.append(f"The Q-Former is stored in {' and '.join(narrow)}; here it is float32.")
    return Part(section, tensors, renamed, (*notes, *_missing(sizes, tensors)))


def _section(folder: Folder, side: Side, sizes: BridgeSizes) -> tuple[dict[str, Any], list[str]]:
    said = folder.part(PART)
    norm_eps, left_out = eps(folder, PART)
    image_norm_eps, _ = eps(folder, "vision_config")
    exact_gelu(folder, PART)
    number, notes = heads(folder, PART, sizes.width)
    agree(folder, PART, _known(_config_sizes(sizes)))
    agree(folder, "", _known({"num_query_tokens": sizes.queries, "image_text_hidden_size": sizes.contrastive_width}))
    positions = sizes.positions or count(folder, PART, "max_position_embeddings")
    known = {
        "positions": positions,
        "vocabulary": sizes.vocabulary or count(folder, PART, "vocab_size"),
        "contrastive_width": sizes.contrastive_width or count(folder, "", "image_text_hidden_size"),
        "max_text_length": min(LONGEST, positions or LONGEST),
    }
    section = {
        "name": "qformer",
        "queries": sizes.queries,
        "layers": sizes.layers,
        "width": sizes.width,
        "heads": number,
        "intermediate": sizes.intermediate,
        "cross_attention_every": sizes.cross_attention_every,
        "norm_eps": norm_eps,
        "image_norm_eps": side.settings.get(EPS, image_norm_eps),
        "dropout": said.get("hidden_dropout_prob", 0.1),
        **_known(known),
    }
    return section, [*left_out, *notes]


def _config_sizes(sizes: BridgeSizes) -> dict[str, Any]:
    # How often layers look is not compared: with a single one that looks, many numbers say the same.
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "encoder_hidden_size": sizes.encoder_width,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": sizes.positions,
    }


def _known(sizes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: size for key, size in sizes.items() if size is not None}


def _missing(sizes: BridgeSizes, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Say what the class does not hold, and what was put in its place."""
    missing = lavis_bridge.text_branch(sizes).keys() - tensors.keys()
    if lavis_bridge.WORDS in missing:
        yield (
            "The text branch (text networks, word and position tables, heads, temperature) is not in it. Here it is"
            " new, so matching, retrieval and stage 1 cannot go on from this folder."
        )
        return
    if "temp" in missing:
        yield f"The temperature (`temp`) is not in it; {TEMPERATURE} was made up for it."
    if any(name.startswith(ITG) for name in missing):
        yield (
            "The head that writes text (ITG, `cls.predictions`) is not in it: its last matrix is the word table,"
            " the rest is new. Stage 1 cannot go on faithfully from this folder."
        )
    if heads := sorted(name for name in missing if name != "temp" and not name.startswith(ITG)):
        yield f"Not in it, and new here: {', '.join(heads[:4])}{' ...' if heads[4:] else ''}."


def q_former(model: Assembled) -> tuple[Published, BridgeSizes]:
    """Give the bridge under LAVIS' names, and its sizes.

    Raises:
        UserError: it is no Q-Former.
    """
    bridge = model.bridge.published()
    if bridge is None or bridge.layout != LAVIS:
        raise UserError(
            f"transformers' BLIP-2 has no bridge but the Q-Former, and this is a {type(model.bridge).__name__}.",
            where="bridge",
            do="Export only runs whose bridge is `qformer`.",
        )
    return bridge, lavis_bridge.sizes_of(bridge.tensors, "bridge")


def qformer_config(bridge: Published, reads_text: bool) -> dict[str, Any]:
    """Say the Q-Former's sizes in transformers' words."""
    sizes = bridge.config
    return {
        "model_type": "blip_2_qformer",
        "vocab_size": sizes["vocabulary"],
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["intermediate"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": sizes["dropout"],
        "attention_probs_dropout_prob": sizes["dropout"],
        "max_position_embeddings": sizes["positions"],
        "layer_norm_eps": sizes["norm_eps"],
        "cross_attention_frequency": sizes["cross_attention_every"],
        "encoder_hidden_size": sizes["encoder_width"],
        "use_qformer_text_input": reads_text,
    }
