"""From a BLIP-2 folder of transformers to parts: a config's `model:` section and what belongs into it."""

import tempfile
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mmbridge_registry import Imported, UserError
from torch import Tensor

from mmbridge_blip2.hugging_face.bridge import read_bridge
from mmbridge_blip2.hugging_face.folder import Folder, open_folder
from mmbridge_blip2.hugging_face.language import PART, PREFIX, read_language_model
from mmbridge_blip2.hugging_face.names import PROJECTION
from mmbridge_blip2.hugging_face.part import Part
from mmbridge_blip2.hugging_face.processor import bridge_words, has_tokenizer, newline_of, without_image
from mmbridge_blip2.hugging_face.side_file import Side, read_side
from mmbridge_blip2.hugging_face.vision import read_encoder
from mmbridge_blip2.lavis.bridge import WORDS
from mmbridge_blip2.lavis.shapes import agree, linear, require, size


@dataclass(frozen=True)
class Parts:
    """Everything that was read, by key of a config's model."""

    folder: Folder
    side: Side
    named: dict[str, Part]
    projection: dict[str, Tensor]
    notes: list[str]

    @property
    def title(self) -> str:
        """What people call such a folder."""
        if "language_model" in self.named:
            kind = "OPT" if self.named["language_model"].section["name"] == "opt" else "T5"
            return f"transformers' Blip2ForConditionalGeneration, {kind}"
        reads_text = WORDS in self.named["bridge"].tensors
        return "transformers' Blip2ForImageTextRetrieval" if reads_text else "transformers' BLIP-2 without text"


def import_folder(source: Path) -> Imported:
    """Sort the tensors of a folder into parts and account for every one.

    Raises:
        UserError: it lacks what cannot be made up, or its parts do not belong together.
    """
    parts = _read(source)
    renamed = {f"{PROJECTION}.{name}": f"projection.{name}" for name in parts.projection}
    for part in parts.named.values():
        renamed |= part.renamed
    prefix, stored = parts.folder.prefix, parts.folder.tensors
    unused = [f"{prefix}{name}" for name in stored if name not in renamed]
    unused += [parts.side.called(name) for name in parts.side.tensors if parts.side.called(name) not in renamed]
    imported = Imported(
        title=parts.title,
        model={key: part.section for key, part in parts.named.items()},
        bridge=parts.named["bridge"].tensors,
        projection=parts.projection,
        towers={key: part.published for key, part in parts.named.items() if part.published is not None},
        renamed={f"{prefix}{name}" if name in stored else name: ours for name, ours in renamed.items()},
        unused=tuple(unused),
        notes=tuple([note for part in parts.named.values() for note in part.notes] + parts.notes),
    )
    return _with_tokenizer(imported, parts)


def _read(source: Path) -> Parts:
    folder, side = open_folder(source), read_side(source)
    named = {"vision_encoder": read_encoder(folder), "bridge": read_bridge(folder, side)}
    width, wanted = len(folder.tensors["vision_model.post_layernorm.weight"]), named["vision_encoder"].tensors
    agree({"cls_token": (1, 1, width)}, wanted, source)
    projection, notes = {}, []
    if any(True for _ in folder.under(PREFIX)):
        named["language_model"] = read_language_model(folder)
        projection, notes = _projection(folder, named["bridge"].section["width"])
        notes += _end_of_text(folder)
    return Parts(folder, side, named, projection, notes)


def _projection(folder: Folder, width: int) -> tuple[dict[str, Tensor], list[str]]:
    wanted = linear(PROJECTION, size(folder.tensors, f"{PROJECTION}.weight", 0, 2, folder.path), width)
    require(wanted, folder.tensors, folder.path)
    agree(wanted, folder.tensors, folder.path)
    stored = {name: folder.tensors[f"{PROJECTION}.{name}"] for name in ("weight", "bias")}
    narrow = stored["weight"].dtype != torch.float32
    notes = ["The projection is stored in less than float32; here it is float32."] if narrow else []
    return {name: tensor.to(torch.float32) for name, tensor in stored.items()}, notes


def _end_of_text(folder: Folder) -> list[str]:
    """Tell what differs about the ends of texts, or that nobody knows the words."""
    if not has_tokenizer(folder.path):
        return ["There is no tokenizer in it: set model.language_model.tokenizer to its folder."]
    said = folder.part(PART).get("eos_token_id")
    if folder.part(PART).get("model_type", "opt") != "opt" or said is None:
        return []
    newline = newline_of(folder.path)
    if said == newline:
        return []
    return [f"Its OPT ends a text with id {said}; here it ends with a newline ({newline}), as BLIP-2 was trained."]


def _with_tokenizer(imported: Imported, parts: Parts) -> Imported:
    """Add the Q-Former's own tokenizer: that of a folder without language model, or the one in the side file.

    Raises:
        UserError: it has other words than the Q-Former's table.
    """
    folder = parts.side.tokenizer or (None if parts.projection else parts.folder.path)
    if WORDS not in imported.bridge:
        return imported
    if folder is None or not has_tokenizer(folder):
        note = "The Q-Former's tokenizer is not in it: set model.bridge.tokenizer to its folder before texts are read."
        return replace(imported, notes=(*imported.notes, note))
    words, has_image = bridge_words(folder)
    rows = len(imported.bridge[WORDS])
    if words != rows:
        what = f"its tokenizer has {words} tokens with [DEC], its Q-Former's word table {rows} rows."
        raise UserError(what, where=folder, do="Give the tokenizer that belongs to it.")
    if not has_image:
        return replace(imported, tokenizer=folder)
    scratch = tempfile.TemporaryDirectory()
    imported = replace(imported, tokenizer=without_image(folder, Path(scratch.name)))
    weakref.finalize(imported, scratch.cleanup)
    return imported
