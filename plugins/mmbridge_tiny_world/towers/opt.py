"""The decoder tower: an OPT of three layers that reads a description and goes on in the world's language."""

import json
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from .language import SEED, Sample, all_words, ceiling, compose, noisy, text_sample
from .saving import save_half
from .training import fit

NOISE = 0.4
CONFIG = {
    "hidden_size": 128,
    "word_embed_proj_dim": 128,
    "ffn_dim": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "init_std": 0.08,  # .02, OPT's own, plateaus at this width
    "bos_token_id": 2,
    "pad_token_id": 1,
    "eos_token_id": 2,
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with OPT's special tokens and order; every word of the world is one token."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = all_words()
    bpe.train_from_iterator([*lines, *(f" {line}" for line in lines)], trainer)
    # OPT opens every text with </s>.
    bpe.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="</s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


class Decoder:
    """An OPT with its tokenizer: the loss of a batch of samples, and greedy continuations."""

    def __init__(self, model: OPTForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.generator = torch.Generator().manual_seed(SEED)
        self.newline = self.ids("\n")[0]

    def ids(self, text: str) -> list[int]:
        """The tokens of a text without the opening </s>."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def rows(self, samples: list[Sample]) -> tuple[Tensor, Tensor]:
        """Tokens [B, L] of description, </s>, prompt, target and newline, and the weight of each as a label."""
        tokens, weights = [], []
        for description, prompt, target in samples:
            given = self.ids(f" {description}")
            asked, said = self.ids(prompt), self.ids(f" {target}\n" if prompt else f"{target}\n")
            tokens.append(torch.tensor([*given, 2, *asked, *said]))
            # A question cannot be foretold: a little weight keeps its words known. An answer is short: it counts more.
            asked_and_said = [0.1] * len(asked) + [4.0 if prompt else 1.0] * len(said)
            weights.append(torch.tensor([0.0] * (len(given) + 1) + asked_and_said))
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(tokens, True, 1), pad(weights, True, 0.0)

    def loss(self, samples: list[Sample]) -> Tensor:
        """Next-token cross-entropy of the text after a blurred description."""
        tokens, weights = self.rows(samples)
        embeddings = self.model.get_input_embeddings()(tokens)
        blurred = torch.cat([noisy(embeddings[:, :8], NOISE, self.generator), embeddings[:, 8:]], 1)
        logits = self.model(inputs_embeds=blurred, attention_mask=(tokens != 1).long()).logits[:, 8:-1]
        losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 9:].flatten(), reduction="none")
        return (losses * weights[:, 9:].flatten()).sum() / weights[:, 9:].sum()

    @torch.no_grad()
    def generate(self, descriptions: list[str], prompts: list[str]) -> list[str]:
        """Continue each prompt after its description until a newline."""
        rows = [
            [*self.ids(f" {given}"), 2, *self.ids(asked)] for given, asked in zip(descriptions, prompts, strict=True)
        ]
        longest = max(map(len, rows))
        tokens = torch.tensor([[1] * (longest - len(row)) + row for row in rows])
        self.model.eval()
        out = cast(Any, self.model).generate(
            tokens,
            attention_mask=(tokens != 1).long(),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=self.newline,
            pad_token_id=1,
        )
        self.model.train()
        return [text.strip() for text in self.tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)]


def load(folder: Path) -> Decoder:
    """Load a written tower."""
    return Decoder(
        OPTForCausalLM.from_pretrained(folder, dtype=torch.float32), PreTrainedTokenizerFast.from_pretrained(folder)
    )


def train(folder: Path, steps: int = 1500, batch_size: int = 128, lr: float = 2e-3) -> None:
    """Train the decoder tower and write it as a transformers folder."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    tower = Decoder(OPTForCausalLM(OPTConfig(vocab_size=len(tokenizer), **CONFIG)), tokenizer)
    compose(tower.model.get_input_embeddings().weight, lambda word: tower.ids(f" {word}")[0])

    def loss_of_step(step: int) -> Tensor:
        first = step * batch_size
        return tower.loss([text_sample(index, split_caption=False) for index in range(first, first + batch_size)])

    cost = fit(
        "opt",
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
