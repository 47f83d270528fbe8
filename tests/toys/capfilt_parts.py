"""CapFilt's parts as small as they go: an open_clip folder, a BLIP folder, image tars, and parts that count."""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import open_clip
import torch
from mmbridge_registry import CAPTIONER, SCORER, Captioner, Options, Scorer
from mmbridge_registry.discovery import Discovered, discover
from PIL import Image
from safetensors.torch import save_file
from transformers import BlipConfig, BlipForConditionalGeneration

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] [DEC] [ENC] a picture of red blue green dog cat man on the street".split()  # noqa: SIM905


def picture(number: int, side: int = 40) -> Image.Image:
    """A picture that is told apart from the others."""
    draw = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 256, (4, 4, 3), generator=draw, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy()).resize((side, side + number % 5))


def encoded(number: int, kind: str = "JPEG") -> bytes:
    buffer = BytesIO()
    picture(number).save(buffer, kind)
    return buffer.getvalue()


def write_tar(folder: Path, count: int, broken: Sequence[int] = ()) -> Path:
    """Write a tar as img2dataset does; the pictures named in `broken` are cut short."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number in range(count):
            image = encoded(number, "PNG" if number % 4 == 3 else "JPEG")
            said = {"caption": f"web caption {number}", "url": f"https://a.example/{number}"}
            members = {
                "png" if number % 4 == 3 else "jpg": image[:200] if number in broken else image,
                "json": json.dumps(said).encode(),
                "txt": said["caption"].encode(),
            }
            for suffix, content in members.items():
                info = tarfile.TarInfo(f"{number:09d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
    return folder


def write_blip(folder: Path) -> Path:
    """Save a BLIP with random weights and few words."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = size | {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "bos_token_id": 5, "sep_token_id": 3}
    torch.manual_seed(0)
    config = BlipConfig(
        vision_config=size | {"image_size": 32, "patch_size": 16}, text_config=text | {"eos_token_id": 3}
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    return folder


def write_open_clip(folder: Path) -> Path:
    """Save an open_clip model with random weights."""
    folder.mkdir(parents=True)
    model = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    torch.manual_seed(0)
    whole = open_clip.CLIP(
        16, open_clip.CLIPVisionCfg(**model["vision_cfg"]), open_clip.CLIPTextCfg(**model["text_cfg"])
    )
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    tensors = {name: tensor.contiguous().clone() for name, tensor in whole.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


class NoOptions(Options):
    """Nothing to set."""


class Namer(Captioner):
    """Names what it sees by a hash of its pixels and of the draw; every third caption repeats."""

    def caption(self, images, count, seed):
        names = [hashlib.sha256(image.tobytes()).hexdigest()[:6] for image in images]
        return [[f"{name} {(seed + number - number % 3) % 97}" for number in range(count)] for name in names]


class Hashed(Scorer):
    """Scores by a hash of image and text, in eight steps so that there are ties."""

    def score(self, images, texts):
        return [
            [hashlib.sha256(image.tobytes() + text.encode()).digest()[0] % 8 / 8 for text in row]
            for image, row in zip(images, texts, strict=True)
        ]


def found() -> Discovered:
    """All plugins, and the two parts above as `namer` and `hashed`."""
    discovered = discover()
    discovered.catalog.offer(CAPTIONER, "namer", NoOptions, lambda options, load, device: Namer())
    discovered.catalog.offer(SCORER, "hashed", NoOptions, lambda options, load, device: Hashed())
    return discovered
