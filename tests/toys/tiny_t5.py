"""A tiny random T5 v1.1 on disk, as a hub folder is, with two tables of tokens."""

import json
import shutil
from pathlib import Path

import torch
from transformers import T5Config, T5ForConditionalGeneration

TOKENIZERS = Path(__file__).parents[1] / "goldens" / "tokenizers"
TINY = {
    "vocab_size": 125,  # the last row is nobody's token: the reference takes it for its image placeholder
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.3,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def write_t5(folder: Path, **changes: object) -> Path:
    """Write a random T5 with T5's kind of tokenizer."""
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**{**TINY, **changes}))
    if not changes.get("tie_word_embeddings"):
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    hub = {"tie_word_embeddings": config.pop("scale_decoder_outputs") is not False}
    (folder / "config.json").write_text(json.dumps({**config, **hub}))
    shutil.copy(TOKENIZERS / "t5_tokenizer.json", folder / "tokenizer.json")
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", **special}))
    return folder


def with_erf(folder: Path, **options: object) -> T5ForConditionalGeneration:
    """Load with transformers alone, the activation forced to the exact GELU as LAVIS and the converter do."""
    config = T5Config.from_pretrained(folder)
    config.dense_act_fn = "gelu"
    config.decoder_start_token_id = 0
    return T5ForConditionalGeneration.from_pretrained(folder, config=config, **options).eval()
