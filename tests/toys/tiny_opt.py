"""A tiny random OPT on disk, as a hub folder is: config, safetensors, vocabulary and merges."""

import json
import shutil
from pathlib import Path

import torch
from transformers import OPTConfig, OPTForCausalLM

TOKENIZERS = Path(__file__).parents[1] / "goldens" / "tokenizers"
VOCABULARY = 393
TINY = {
    "vocab_size": VOCABULARY + 1,  # the last row is nobody's token: the reference takes it for its image placeholder
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "dropout": 0.3,
    "init_std": 0.3,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
SPECIAL = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}


def write_opt(folder: Path, **changes: object) -> Path:
    """Write a random OPT with OPT's kind of tokenizer."""
    torch.manual_seed(0)
    OPTForCausalLM(OPTConfig(**{**TINY, **changes})).save_pretrained(folder)
    shutil.copy(TOKENIZERS / "opt_vocab.json", folder / "vocab.json")
    shutil.copy(TOKENIZERS / "opt_merges.txt", folder / "merges.txt")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **SPECIAL}))
    return folder
