"""The text tower that a Q-Former starts from: a small BERT, trained to fill masked words of captions."""

import json
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from ..grammar import WORDINGS, caption, describe
from ..world import Split, held_out_scenes, scene_by_lot
from .language import SEED, all_words
from .saving import save_half
from .training import fit

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, MASK = 0, 4
MASKED_SHARE = 0.25
CONFIG = {
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def make_tokenizer(folder: Path) -> BertTokenizer:
    """A lower-case WordPiece vocabulary that holds every word of the world whole."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {word for line in all_words(describe) for word in re.findall(r"\w+|[^\w\s]", line.lower())}
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *sorted(words)]) + "\n")
    return BertTokenizer.from_pretrained(folder, do_lower_case=True)


def caption_at(index: int) -> str:
    """The training caption number `index`."""
    rng = np.random.default_rng([SEED, index])
    scene = scene_by_lot(rng, "train")
    return caption(scene, int(rng.integers(len(WORDINGS[len(scene.things)]))))


def masked_logits(model: BertForMaskedLM, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mask a share of the words; give the logits at the masked places and the words that were there."""
    chosen = (torch.rand(tokens.shape, generator=generator) < MASKED_SHARE) & (tokens > MASK)
    logits = model(tokens.masked_fill(chosen, MASK), attention_mask=(tokens != PAD).long()).logits
    return logits[chosen], tokens[chosen]


@torch.no_grad()
def measure(model: BertForMaskedLM, tokenizer: BertTokenizer, split: Split) -> dict[str, float]:
    """Perplexity and accuracy of masked words in the captions of held-out scenes; attributes cannot be foretold."""
    texts = [caption(scene, place) for place, scene in enumerate(held_out_scenes(split, SEED, 256))]
    tokens = tokenizer(texts, return_tensors="pt", padding=True)["input_ids"]
    logits, words = masked_logits(model, tokens, torch.Generator().manual_seed(SEED))
    right = (logits.argmax(-1) == words).float().mean().item()
    return {"masked_perplexity": round(F.cross_entropy(logits, words).exp().item(), 3), "masked_right": round(right, 4)}


def train(folder: Path, steps: int = 1000, batch_size: int = 128, lr: float = 1e-3) -> None:
    """Train the text tower and write it as a transformers folder."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer(folder)
    model, generator = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **CONFIG)), torch.Generator()
    generator.manual_seed(SEED)

    def loss_of_step(step: int) -> Tensor:
        texts = [caption_at(index) for index in range(step * batch_size, (step + 1) * batch_size)]
        tokens = tokenizer(texts, return_tensors="pt", padding=True)["input_ids"]
        return F.cross_entropy(*masked_logits(model, tokens, generator))

    cost = fit(
        "bert",
        model.parameters(),
        loss_of_step,
        steps=steps,
        lr=lr,
        probe=lambda: str(measure(model, tokenizer, "test")),
    )
    save_half(model, tokenizer, folder)
    written = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    card = {"seed": SEED, "texts": steps * batch_size, **cost}
    card |= {split: measure(written, tokenizer, split) for split in ("test", "unseen_pairs")}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
