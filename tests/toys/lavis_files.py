"""Tiny files as LAVIS writes them: a pickled dict whose weights lie under `model`, random, of every kind."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """The geometry of a toy; heads are 64 wide in the Q-Former and CLIP, 88 in EVA, as they are in LAVIS."""

    encoder: int = 176
    """88 per EVA head; CLIP wants a multiple of 64."""
    encoder_inner: int = 200
    encoder_blocks: int = 3
    patch: int = 14
    image: int = 28
    queries: int = 5
    layers: int = 3
    width: int = 128
    inner: int = 96
    vocabulary: int = 200
    positions: int = 40
    every: int = 2
    contrastive: int = 24
    language: int = 32


CLIP = replace(Sizes(), encoder=128)
KINDS = ("stage1", "stage1_clip", "opt", "t5", "t5_clip", "caption_opt", "caption_t5", "retrieval", "retrieval_clip")
"""What LAVIS' published files are, the `_clip` ones with CLIP ViT-L, captions and retrieval with their encoder."""


def write_lavis(file: Path, kind: str, **sizes: int) -> Path:
    """Write a random file of one of `KINDS`."""
    torch.save({"model": state(kind, **sizes), "epoch": 3}, file)
    return file


def state(kind: str, **sizes: int) -> State:
    """Give the tensors of one of `KINDS`, by LAVIS' names."""
    clip = kind.endswith("clip")
    chosen = replace(CLIP if clip else Sizes(), **sizes)
    stage_2 = next((name for name in ("opt", "t5") if name in kind), None)
    named = image_branch(chosen) | (projection(stage_2, chosen) if stage_2 else text_branch(chosen))
    if kind.startswith(("caption", "retrieval")):
        named |= clip_encoder(chosen) if clip else eva_encoder(chosen)
    return named


def image_branch(sizes: Sizes) -> State:
    """What stage 2 keeps of the Q-Former."""
    width, bert = sizes.width, "Qformer.bert.embeddings"
    named = {
        "query_tokens": draw(1, sizes.queries, width),
        f"{bert}.position_ids": torch.arange(sizes.positions).expand(1, -1),
        **norm("ln_vision", sizes.encoder),
        **norm(f"{bert}.LayerNorm", width),
    }
    for number in range(sizes.layers):
        layer = f"Qformer.bert.encoder.layer.{number}"
        named |= attention(f"{layer}.attention", width, width)
        if number % sizes.every == 0:
            named |= attention(f"{layer}.crossattention", width, sizes.encoder)
        named |= feed_forward(layer, "_query", sizes)
    return named


def text_branch(sizes: Sizes) -> State:
    """What stage 1 has besides: text networks, tables, heads; LAVIS stores tied tensors under both their names."""
    width, cls = sizes.width, "Qformer.cls.predictions"
    words, bias = draw(sizes.vocabulary, width), draw(sizes.vocabulary)
    named = {
        "Qformer.bert.embeddings.word_embeddings.weight": words,
        "Qformer.bert.embeddings.position_embeddings.weight": draw(sizes.positions, width),
        f"{cls}.bias": bias,
        f"{cls}.decoder.weight": words,
        f"{cls}.decoder.bias": bias,
        **linear(f"{cls}.transform.dense", width, width),
        **norm(f"{cls}.transform.LayerNorm", width),
        **linear("vision_proj", sizes.contrastive, width),
        **linear("text_proj", sizes.contrastive, width),
        **linear("itm_head", 2, width),
        "temp": torch.tensor(0.0625),
    }
    for number in range(sizes.layers):
        named |= feed_forward(f"Qformer.bert.encoder.layer.{number}", "", sizes)
    return named


def projection(language_model: str, sizes: Sizes) -> State:
    """The layer in front of `opt`, `t5` or `llm`."""
    return linear(f"{language_model}_proj", sizes.language, sizes.width)


def eva_encoder(sizes: Sizes, prefix: str = "visual_encoder.") -> State:
    """LAVIS' ViT-g; with an empty prefix the flat file that it comes in."""
    width, inner = sizes.encoder, sizes.encoder_inner
    named = {
        "cls_token": draw(1, 1, width),
        "pos_embed": draw(1, 1 + (sizes.image // sizes.patch) ** 2, width),
        "patch_embed.proj.weight": draw(width, 3, sizes.patch, sizes.patch),
        "patch_embed.proj.bias": draw(width),
    }
    for number in range(sizes.encoder_blocks):
        block = f"blocks.{number}"
        named |= {
            **norm(f"{block}.norm1", width),
            f"{block}.attn.q_bias": draw(width),
            f"{block}.attn.v_bias": draw(width),
            f"{block}.attn.qkv.weight": draw(3 * width, width),
            **linear(f"{block}.attn.proj", width, width),
            **norm(f"{block}.norm2", width),
            **linear(f"{block}.mlp.fc1", inner, width),
            **linear(f"{block}.mlp.fc2", width, inner),
        }
    return {f"{prefix}{name}": tensor for name, tensor in named.items()}


def clip_encoder(sizes: Sizes, prefix: str = "visual_encoder.") -> State:
    """LAVIS' CLIP ViT-L; with an empty prefix the flat file that it comes in."""
    width, inner = sizes.encoder, sizes.encoder_inner
    named = {
        "class_embedding": draw(width),
        "positional_embedding": draw(1 + (sizes.image // sizes.patch) ** 2, width),
        "conv1.weight": draw(width, 3, sizes.patch, sizes.patch),
        **norm("ln_pre", width),
    }
    for number in range(sizes.encoder_blocks):
        block = f"transformer.resblocks.{number}"
        named |= {
            f"{block}.attn.in_proj_weight": draw(3 * width, width),
            f"{block}.attn.in_proj_bias": draw(3 * width),
            **linear(f"{block}.attn.out_proj", width, width),
            **norm(f"{block}.ln_1", width),
            **linear(f"{block}.mlp.c_fc", inner, width),
            **linear(f"{block}.mlp.c_proj", width, inner),
            **norm(f"{block}.ln_2", width),
        }
    return {f"{prefix}{name}": tensor for name, tensor in named.items()}


def attention(name: str, width: int, seen: int) -> State:
    """BERT's attention from rows of `width` to rows of `seen`, with what follows it."""
    return {
        **linear(f"{name}.self.query", width, width),
        **linear(f"{name}.self.key", width, seen),
        **linear(f"{name}.self.value", width, seen),
        **linear(f"{name}.output.dense", width, width),
        **norm(f"{name}.output.LayerNorm", width),
    }


def feed_forward(layer: str, suffix: str, sizes: Sizes) -> State:
    """One of the two networks of a layer."""
    return {
        **linear(f"{layer}.intermediate{suffix}.dense", sizes.inner, sizes.width),
        **linear(f"{layer}.output{suffix}.dense", sizes.width, sizes.inner),
        **norm(f"{layer}.output{suffix}.LayerNorm", sizes.width),
    }


def linear(name: str, out: int, given: int) -> State:
    """A matrix and its bias."""
    return {f"{name}.weight": draw(out, given), f"{name}.bias": draw(out)}


def norm(name: str, width: int) -> State:
    """A norm's weight, near one, and bias."""
    return {f"{name}.weight": 1 + draw(width), f"{name}.bias": draw(width)}


def draw(*shape: int) -> Tensor:
    """Random numbers; whoever wants the same twice seeds torch."""
    return torch.randn(shape) / 8
