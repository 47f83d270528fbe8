"""What a file is that is not LAVIS' BLIP-2, told by the names of its tensors."""

import re
from collections.abc import Iterable
from pathlib import Path

from mmbridge_registry import UserError

EVA, CLIP = "timm/eva_giant_patch14_clip_224.laion400m", "timm/vit_large_patch14_clip_224.openai"
"""Hub ids of the two encoders that LAVIS has (ViT-g of EVA-CLIP, ViT-L/14 of OpenAI's CLIP)."""

STAGE_1_HEADS = ("vision_proj.", "text_proj.", "itm_head.", "temp", "Qformer.cls.")

TRANSFORMERS = "has the layout of transformers, not LAVIS'", "Give the folder that it lies in, with safetensors."
LAYOUTS = (
    (r"llm_proj\.", "is an InstructBLIP, whose Q-Former reads the question as well: no part here does", None),
    (r"llama_proj\.", "is a MiniGPT-4, not a BLIP-2", None),
    (r"language_projection\.|vision_model\.|qformer\.|language_model\.", *TRANSFORMERS),
    (r"text_decoder\.|text_encoder\.|visual_encoder_m\.", "is LAVIS' older BLIP or ALBEF, not its BLIP-2", None),
    (r"blocks\.\d+\.attn\.q_bias", "is ViT-g alone (`eva_vit_g.pth`)", f"The encoder comes by its hub id: {EVA}."),
    (r"blocks\.\d+\.", "has the layout of timm, not LAVIS'", "Name it as `weights` of the encoder `timm_vit`."),
    (r"visual\.", "has the layout of open_clip, not LAVIS'", f"The encoder comes by its hub id: {CLIP}."),
    (r"transformer\.resblocks\.", "is CLIP's image half alone (`clip_vit_L.pth`)",
     f"The encoder comes by its hub id: {CLIP}."),
    (r"module\.", "was saved from inside DistributedDataParallel", "Save the module in it, as LAVIS does."),
    (r"bert\.|encoder\.layer\.|embeddings\.", "has the layout of a BERT", "Name a BERT as `init` of the Q-Former."),
)  # fmt: skip
"""How names begin, what such a file is, what to do with it."""


def refuse_other_layouts(names: Iterable[str], source: Path) -> None:
    """Refuse what is not LAVIS' BLIP-2 and say what it is.

    Raises:
        UserError: it is anything else.
    """
    names = sorted(names)
    ours = "query_tokens" in names and any(name.startswith("Qformer.bert.") for name in names)
    if ours and not any(name.startswith("llm_proj.") for name in names):
        if _reads_questions(names):
            raise UserError(f"this {LAYOUTS[0][1]}.", where=source, do="Give a file of BLIP-2.")
        return
    for pattern, what, do in LAYOUTS:
        if any(re.match(pattern, name) for name in names):
            raise UserError(f"this {what}.", where=source, do=do or "Give a file of BLIP-2.")
    raise UserError(f"this has no layout that is known: a tensor is called '{names[0]}'.", where=source)


def _reads_questions(names: list[str]) -> bool:
    """InstructBLIP with T5 is called as BLIP-2 is, but keeps the text networks in stage 2, without the heads."""
    text = any(re.search(r"layer\.\d+\.intermediate\.dense", name) for name in names)
    second = any(name.startswith(("t5_proj.", "opt_proj.")) for name in names)
    return text and second and not any(name.startswith(STAGE_1_HEADS) for name in names)
