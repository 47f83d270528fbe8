"""A start from BERT: what is copied, what is new, what is left over."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmbridge_registry import UserError
from safetensors.torch import load_file
from torch import Tensor

from mmbridge_qformer.lavis_names import from_lavis, to_lavis

if TYPE_CHECKING:
    from mmbridge_qformer.qformer import QFormer


@dataclass(frozen=True)
class StartReport:
    """Where each tensor of a Q-Former came from; every one is either copied or new."""

    copied: Mapping[str, str]
    """Our name -> BERT's name."""
    new: tuple[str, ...]
    """Ours that BERT does not have: drawn at random."""
    unused: tuple[str, ...]
    """BERT's that the Q-Former does not have."""
    rows_added: int
    """Rows of the word table that are new: [DEC], and whatever else the tokenizer has beyond the checkpoint."""

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} tensors from BERT (word table: {self.rows_added} rows added), "
            f"{len(self.new)} new, {len(self.unused)} of BERT's unused"
        )


@torch.no_grad()
def start_from_bert(bridge: "QFormer", folder: Path) -> StartReport:
    """Copy a BERT into a Q-Former; the query network starts as a copy of the text network (BLIP-2, section 3.1).

    Raises:
        UserError: there is no safetensors file, a tensor has another shape, or nothing in it is BERT's.
    """
    bert = _read(folder)
    ours = dict(bridge.named_parameters())
    copied: dict[str, str] = {}
    for name, parameter in ours.items():
        theirs = to_lavis(name.replace(".query_ffn.", ".text_ffn.")).removeprefix("Qformer.")
        if theirs in bert:
            _copy(parameter, bert[theirs], f"{folder}: {theirs}")
            copied[name] = theirs
    if not copied:
        raise UserError(f"{folder} holds no tensor of a BERT.", where="qformer.init", do="Name a BERT checkpoint.")
    rows = min(len(bert["bert.embeddings.word_embeddings.weight"]), bridge.geometry.vocabulary)
    return StartReport(
        copied=copied,
        new=tuple(name for name in ours if name not in copied),
        unused=tuple(sorted(name for name in bert if from_lavis(f"Qformer.{name}") not in copied)),
        rows_added=bridge.geometry.vocabulary - rows,
    )


def _read(folder: Path) -> dict[str, Tensor]:
    """Read a checkpoint under the names of today: `bert.` in front, norms with weight and bias."""
    file = folder / "model.safetensors"
    if not file.is_file():
        raise UserError(f"{file} does not exist.", where="qformer.init", do="Pickled checkpoints are not read.")
    named = {}
    for name, tensor in load_file(file).items():
        full = name if name.startswith(("bert.", "cls.")) else f"bert.{name}"
        named[full.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")] = tensor
    return named


def _copy(parameter: Tensor, source: Tensor, where: str) -> None:
    """Copy; the word table and its bias may differ in their number of rows, which keeps the rest as it was drawn."""
    rows = min(len(parameter), len(source)) if "word_embeddings" in where or "predictions.bias" in where else None
    if parameter[:rows].shape != source[:rows].shape:
        raise UserError(
            f"the checkpoint has the shape {tuple(source.shape)}, the Q-Former {tuple(parameter.shape)}.",
            where=where,
            do="Leave out the sizes in the bridge's options; they are then taken from the checkpoint.",
        )
    parameter[:rows].copy_(source[:rows])
