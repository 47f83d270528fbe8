"""The encoder-decoder tower: a T5 v1.1 (as FlanT5 is) that reads a description and a prefix, and goes on."""

import io
import json
import re
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from sentencepiece import SentencePieceTrainer
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from .language import SEED, Sample, all_words, ceiling, noisy, text_sample
from .saving import save_half
from .training import fit

NOISE = 0.4
CONFIG = {
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 256,
    "num_heads": 4,
    "num_layers": 3,
    "num_decoder_layers": 3,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,  # v1.1: logits are not scaled; transformers ties the head to the embeddings anyway
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def make_tokenizer(folder: Path) -> T5Tokenizer:
    """A sentencepiece unigram model with T5's special tokens; every word of the world is one piece."""
    folder.mkdir(parents=True, exist_ok=True)
    model, lines = io.BytesIO(), [line.strip() for line in all_words()]
    # Named words stay whole; the trainer by itself cuts words that are rare among so few.
    words = sorted({f"▁{word}" for line in lines for word in re.findall(r"\w+", line)})
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        user_defined_symbols=words,
        model_writer=model,
        model_type="unigram",
        vocab_size=256,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    return T5Tokenizer.from_pretrained(folder, extra_ids=0)


class EncoderDecoder:
    """A T5 with its tokenizer: the loss of a batch of samples, and greedy continuations."""

    def __init__(self, model: T5ForConditionalGeneration, tokenizer: T5Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.generator = torch.Generator().manual_seed(SEED)

    def tokens(self, texts: list[str]) -> Tensor:
        """Tokens of texts, each closed by </s>, padded on the right."""
        return self.tokenizer(texts, return_tensors="pt", padding=True)["input_ids"]

    def given(self, descriptions: list[str], prompts: list[str]) -> Tensor:
        """Encoder tokens: the eight words of the description, the prompt, </s>."""
        return self.tokens([f"{given} {asked}" for given, asked in zip(descriptions, prompts, strict=True)])

    def loss(self, samples: list[Sample]) -> Tensor:
        """Cross-entropy of the target, the encoder reading a blurred description and the prompt."""
        descriptions, prompts, targets = map(list, zip(*samples, strict=True))
        tokens, labels = self.given(descriptions, prompts), self.tokens(targets)
        embeddings = self.model.get_input_embeddings()(tokens)
        blurred = torch.cat([noisy(embeddings[:, :8], NOISE, self.generator), embeddings[:, 8:]], 1)
        out = self.model(
            inputs_embeds=blurred,
            attention_mask=(tokens != 0).long(),
            decoder_input_ids=F.pad(labels[:, :-1], (1, 0)),
            use_cache=False,
        )
        losses = F.cross_entropy(out.logits.flatten(0, 1), labels.flatten(), ignore_index=0, reduction="none")
        # An answer has two tokens and a caption many; without a weight the answers would be learned last.
        short = (labels != 0).sum(1) == 2
        weights = (labels != 0) * torch.where(short, 4.0, 1.0)[:, None]
        return (losses * weights.flatten()).sum() / weights.sum()

    @torch.no_grad()
    def generate(self, descriptions: list[str], prompts: list[str]) -> list[str]:
        """What the decoder says to each description with its prompt."""
        tokens = self.given(descriptions, prompts)
        self.model.eval()
        out = cast(Any, self.model).generate(
            tokens, attention_mask=(tokens != 0).long(), max_new_tokens=24, do_sample=False
        )
        self.model.train()
        return [text.strip() for text in self.tokenizer.batch_decode(out, skip_special_tokens=True)]


def load(folder: Path) -> EncoderDecoder:
    """Load a written tower."""
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return EncoderDecoder(model, T5Tokenizer.from_pretrained(folder))


def fresh(tokenizer: T5Tokenizer) -> T5ForConditionalGeneration:
    """A T5 with quiet first logits: its head is its embeddings, and T5's own standard deviation is 1."""
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **CONFIG))
    torch.nn.init.normal_(model.shared.weight, std=CONFIG["d_model"] ** -0.5)
    return model


def train(folder: Path, steps: int = 1500, batch_size: int = 128, lr: float = 2e-3) -> None:
    """Train the encoder-decoder tower and write it as a transformers folder."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer(folder)
    tower = EncoderDecoder(fresh(tokenizer), tokenizer)

    def loss_of_step(step: int) -> Tensor:
        first = step * batch_size
        return tower.loss([text_sample(index, split_caption=True) for index in range(first, first + batch_size)])

    cost = fit(
        "t5",
        tower.model.parameters(),
        loss_of_step,
        steps=steps,
        lr=lr,
        probe=lambda: str(ceiling(tower.generate, size=64)),
        probe_every=250,
    )
    save_half(tower.model, tokenizer, folder)
    card = {"seed": SEED, "texts": steps * batch_size, **cost}
    card |= {split: ceiling(load(folder).generate, split) for split in ("test", "unseen_pairs")}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
