"""The language model inside a folder: transformers' own OPT or T5, whole, under a prefix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmbridge_registry import Published, UserError
from mmbridge_registry.published import TRANSFORMERS
from mmbridge_registry.transformers_folder import one_line

from mmbridge_blip2.hugging_face.folder import Folder
from mmbridge_blip2.hugging_face.part import Part, Sorted, dtype_of
from mmbridge_blip2.hugging_face.settings import eps

PREFIX, PART = "language_model.", "text_config"


@dataclass(frozen=True)
class Family:
    """A kind of language model that BLIP-2 writes with."""

    name: str
    """The part that it is here."""
    title: str
    table: str
    """The tensor that embeds tokens."""
    twins: tuple[str, ...]
    """Second names under which older files store the table again."""
    layers: Mapping[str, str]
    """Keys of the config that count layers, and what stands before their numbers in names."""


FAMILIES = {
    "opt": Family(
        "opt",
        "OPT",
        "model.decoder.embed_tokens.weight",
        ("lm_head.weight",),
        {"num_hidden_layers": "model.decoder.layers."},
    ),
    "t5": Family(
        "flan_t5",
        "T5",
        "shared.weight",
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"),
        {"num_layers": "encoder.block.", "num_decoder_layers": "decoder.block."},
    ),
}
ARCHITECTURES = {
    ("opt", 2560, 32, 50272): "opt-2.7b",
    ("opt", 4096, 32, 50272): "opt-6.7b",
    ("t5", 2048, 24, 32128): "flan-t5-xl",
    ("t5", 4096, 24, 32128): "flan-t5-xxl",
}
"""Language models that BLIP-2 was published with, by kind, width, layers and rows of the table."""
HEAD = "lm_head.weight"
"""The one twin that may be a table of its own: a T5 of version 1.1, which FlanT5 is, has two."""


def read_language_model(folder: Folder) -> Part:
    """Take the language model out of a folder; tensors keep their types.

    Raises:
        UserError: it is neither OPT nor T5, or its tensors and its config do not belong together.
    """
    config = {"model_type": "opt", **folder.part(PART)}
    family = FAMILIES.get(str(config["model_type"]))
    if family is None:
        what = f"the language model is a '{config['model_type']}'; BLIP-2 writes with OPT or FlanT5."
        raise UserError(what, where=folder.file, do="Give a BLIP-2 of one of these two.")
    left_out = eps(folder, PART, "layer_norm_epsilon")[1] if family.name == "flan_t5" else []
    found = Sorted("language_model")
    for name, tensor in folder.under(PREFIX):
        found.add(name, name.removeprefix(PREFIX), tensor)
    notes = [*left_out, *_untwin(folder, family, found)]
    _check(folder, family, config, found)
    dtype = dtype_of(found.tensors)
    section = {"name": family.name, "dtype": dtype, **_architecture(_settings(folder, config))}
    if family.name == "flan_t5":
        section["activation"] = "config"
        if dtype == "float16":
            section["dtype"] = "float32"
            notes.append("T5 is stored in float16, in which it overflows; here it computes in float32.")
    published = Published(TRANSFORMERS, config, found.tensors, folder.path)
    return Part(section, found.tensors, found.renamed, tuple(notes), published)


def _architecture(settings: Any) -> dict[str, str]:
    """Name the published geometry, if it is one: by it results are put beside published ones."""
    rows = (
        min(settings.vocab_size, 50272) if settings.model_type == "opt" else settings.vocab_size
    )  # a placeholder's row
    known = ARCHITECTURES.get((settings.model_type, settings.hidden_size, settings.num_hidden_layers, rows))
    return {"architecture": known} if known else {}


def _untwin(folder: Folder, family: Family, found: Sorted) -> list[str]:
    """Take the table of tokens once; files of older versions store it under all its names."""
    notes = []
    for twin in family.twins:
        tensor = found.tensors.get(twin)
        if tensor is None:
            continue
        table = found.tensors.setdefault(family.table, tensor)
        if table is tensor or torch.equal(table, tensor):
            del found.tensors[twin]
            found.renamed[f"{PREFIX}{twin}"] = f"language_model.{family.table}"
            notes.append(f"{PREFIX}{twin} is {family.table} stored again; it is taken once.")
        elif twin != HEAD or family.name == "opt":
            what = f"{PREFIX}{twin} differs from {family.table}, to which it is tied."
            raise UserError(what, where=folder.path, do="Give the original file.")
    return notes


def _check(folder: Folder, family: Family, config: Mapping[str, Any], found: Sorted) -> None:
    """Compare names and shapes with what transformers builds from the config; what it has no place for is left out."""
    settings = _settings(folder, config)
    for key, prefix in family.layers.items():
        count = len({name.removeprefix(prefix).split(".")[0] for name in found.tensors if name.startswith(prefix)})
        if getattr(settings, key) != count:
            what = f"{PART} says {key} {getattr(settings, key)}, but the tensors have {count}."
            raise UserError(what, where=folder.file, do="Get the whole folder.")
    with one_line(f"{PART} describes no {family.title}", folder.file, "Give the original file."):
        wanted = _shapes(settings)
    for name in wanted.keys() - found.tensors.keys():
        raise UserError(f"it lacks {PREFIX}{name}.", where=folder.path, do="Get the whole folder.")
    for name, tensor in list(found.tensors.items()):
        shape = wanted.get(name, wanted[family.table] if name == HEAD else None)
        if shape is None:
            del found.tensors[name], found.renamed[f"{PREFIX}{name}"]
        elif tensor.shape != shape:
            what = f"{PREFIX}{name} has shape {list(tensor.shape)}, but {PART} wants {list(shape)}."
            raise UserError(what, where=folder.path, do="Give the original file.")


def _settings(folder: Folder, config: Mapping[str, Any]) -> Any:
    from transformers import OPTConfig, T5Config

    classes: dict[str, Callable[..., Any]] = {"opt": OPTConfig, "t5": T5Config}
    with one_line(f"{PART} cannot be read", folder.file, "Give the original file."):
        return classes[config["model_type"]](**{key: value for key, value in config.items() if key != "model_type"})


def _shapes(settings: Any) -> dict[str, torch.Size]:
    """Name what transformers builds, tied tensors once, without building it."""
    from transformers import OPTForCausalLM, T5ForConditionalGeneration

    with torch.device("meta"):
        model = (T5ForConditionalGeneration if settings.model_type == "t5" else OPTForCausalLM)(settings)
    return {name: tensor.shape for name, tensor in model.named_parameters()}


def family_of(published: Published | None) -> Family:
    """Give the family of a language model that is to be exported.

    Raises:
        UserError: transformers' BLIP-2 could hold it, but nothing here knows how it ends and starts a text.
    """
    kind = published.config.get("model_type") if published and published.layout == TRANSFORMERS else None
    if kind not in FAMILIES:
        raise UserError(
            f"this format writes BLIP-2 with OPT or T5, and the language model is {kind or 'no one of transformers'}.",
            where="language_model",
            do="Export a stage before the projection was trained, or to another format.",
        )
    return FAMILIES[kind]


def rows_of(published: Published, family: Family) -> int:
    """Count the rows of the table of tokens."""
    return len(published.tensors[family.table])
