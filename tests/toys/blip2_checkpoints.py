"""Tiny random BLIP-2 checkpoints as transformers saves them, with tokenizer and processor: folders as on the hub."""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from PIL import Image
from toys.tiny_opt import SPECIAL, TOKENIZERS
from toys.tiny_opt import TINY as OPT
from toys.tiny_t5 import TINY as T5
from transformers import (
    AddedToken,
    AutoTokenizer,
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Model,
    Blip2Processor,
    BlipImageProcessor,
    PreTrainedModel,
)

Kind = Literal["opt", "t5", "retrieval", "backbone"]
"""What a folder holds: `Blip2ForConditionalGeneration` with one of two language models, `Blip2ForImageTextRetrieval`,
or `Blip2Model` with OPT."""
CLASSES: dict[Kind, type[PreTrainedModel]] = {
    "opt": Blip2ForConditionalGeneration,
    "t5": Blip2ForConditionalGeneration,
    "retrieval": Blip2ForImageTextRetrieval,
    "backbone": Blip2Model,
}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


@dataclass(frozen=True)
class Geometry:
    """Sizes of a toy. Epsilons differ from every default, so that one that is not carried over shows."""

    vision: dict[str, Any] = field(
        default_factory=lambda: {
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "image_size": 28,
            "patch_size": 14,
            "layer_norm_eps": 3e-4,
        }
    )
    qformer: dict[str, Any] = field(
        default_factory=lambda: {
            "hidden_size": 16,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 40,
            "layer_norm_eps": 2e-3,
        }
    )
    queries: int = 5
    contrastive: int = 12


PLAIN = Geometry()
ODD = replace(
    PLAIN,
    vision={**PLAIN.vision, "hidden_size": 26, "intermediate_size": 107, "num_attention_heads": 2, "patch_size": 7},
    qformer={**PLAIN.qformer, "hidden_size": 21, "intermediate_size": 33, "num_attention_heads": 3},
    queries=3,
    contrastive=7,
)
"""Odd widths; 26 * (107 / 26) is below 107 in floating point."""
DEEP = replace(
    PLAIN,
    vision={**PLAIN.vision, "num_hidden_layers": 5},
    qformer={**PLAIN.qformer, "num_hidden_layers": 5, "cross_attention_frequency": 1},
    queries=16,
)
"""Five layers, all of which look at the image, and 16 queries."""
GEOMETRIES = {"plain": PLAIN, "odd": ODD, "deep": DEEP}


def write_blip2(folder: Path, kind: Kind = "opt", geometry: Geometry = PLAIN, **changes: Any) -> Path:
    """Write a random checkpoint; `changes` go to the top of its config."""
    model = random_blip2(kind, geometry, **changes)
    model.save_pretrained(folder)
    write_processor(folder, kind, geometry)
    return folder


def random_blip2(kind: Kind, geometry: Geometry = PLAIN, **changes: Any) -> PreTrainedModel:
    """Build transformers' own class with every tensor random, in eval mode."""
    torch.manual_seed(0)
    reads_text = kind == "retrieval"
    words = len(bert_tokenizer()) if reads_text else 30
    text = {"t5": t5_config, "retrieval": lambda: None}.get(kind, opt_config)()
    config = Blip2Config(
        vision_config=geometry.vision,
        qformer_config={**geometry.qformer, "vocab_size": words, "use_qformer_text_input": reads_text},
        text_config=text,
        num_query_tokens=geometry.queries,
        image_text_hidden_size=geometry.contrastive,
        **{"image_token_index": None if text is None else text["vocab_size"] - 1, **changes},
    )
    model = CLASSES[kind](config).eval()
    if kind == "t5":  # FlanT5 has two tables
        model.language_model.lm_head.weight = torch.nn.Parameter(torch.empty(T5["vocab_size"], T5["d_model"]))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            randomise(name, tensor)
    return model


def randomise(name: str, tensor: torch.Tensor) -> None:
    """Draw a tensor large enough that every one of them matters; EVA has no bias for keys."""
    is_norm = tensor.ndim == 1 and name.endswith("weight")
    tensor.normal_(mean=float(is_norm), std=0.3)
    if name.endswith("self_attn.qkv.bias"):
        tensor.chunk(3)[1].zero_()


def opt_config() -> dict[str, Any]:
    """OPT as the hub's converter leaves it: a text ends with a newline."""
    newline = opt_tokenizer()("\n", add_special_tokens=False)["input_ids"][0]
    return {"model_type": "opt", **OPT, "eos_token_id": newline}


def t5_config() -> dict[str, Any]:
    """FlanT5 as the hub's converter leaves it: the exact GELU, and a bos that is the end."""
    return {"model_type": "t5", **T5, "dense_act_fn": "gelu", "bos_token_id": 1, "decoder_start_token_id": 0}


def opt_tokenizer() -> Any:
    """OPT's kind of tokenizer, with the placeholder as its last token."""
    with TemporaryDirectory() as folder:
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(TOKENIZERS / f"opt_{name}", Path(folder) / name)
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **SPECIAL}))
        return _with_image(AutoTokenizer.from_pretrained(folder, add_bos_token=True, padding_side="left"))


def t5_tokenizer() -> Any:
    """T5's kind of tokenizer, with the placeholder as its last token."""
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0}
    with TemporaryDirectory() as folder:
        shutil.copy(TOKENIZERS / "t5_tokenizer.json", Path(folder) / "tokenizer.json")
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", **special}))
        return _with_image(AutoTokenizer.from_pretrained(folder))


def bert_tokenizer() -> Any:
    """The Q-Former's tokenizer, [DEC] included."""
    tokenizer = BertTokenizer(str(TOKENIZERS / "bert_vocab.txt"))
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    return tokenizer


def write_processor(folder: Path, kind: Kind, geometry: Geometry) -> None:
    """Write the processor; that of a retrieval folder has the placeholder that transformers adds to every one."""
    tokenizer = {"t5": t5_tokenizer, "retrieval": bert_tokenizer}.get(kind, opt_tokenizer)()
    side = geometry.vision["image_size"]
    images = BlipImageProcessor(size={"height": side, "width": side}, image_mean=MEAN, image_std=STD)
    queries = None if kind == "retrieval" else geometry.queries
    Blip2Processor(images, tokenizer, num_query_tokens=queries).save_pretrained(folder)


def pictures(count: int, size: tuple[int, int] = (28, 28)) -> list[Image.Image]:
    """Draw noise, the same every time."""
    pixels = torch.randint(256, (count, *size[::-1], 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return [Image.fromarray(each) for each in pixels.numpy()]


def edit_config(folder: Path, part: str | None = None, **changes: Any) -> None:
    """Change config.json; a value of `...` removes its key."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    at = config[part] if part else config
    for key, value in changes.items():
        at.pop(key, None)
        if value is not ...:
            at[key] = value
    file.write_text(json.dumps(config))


def _with_image(tokenizer: Any) -> Any:
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    return tokenizer
