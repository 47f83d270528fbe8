"""The image tower: open_clip's ViT, trained with a CLIP loss and a dense loss on what covers each patch."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.transformer import VisionTransformer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..drawing import IMAGE_SIZE, PATCH, draw, owners
from ..grammar import NOTHING, NUMBERS, describe
from ..world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Picture, Split, picture_at
from .training import fit

SEED = 0
MEAN = STD = (0.5, 0.5, 0.5)
WORDS = ("<pad>", *SIZES, *COLOURS, *SHAPES, *BACKGROUNDS, *NUMBERS, NOTHING, "<end>")
CONFIG = {
    "embed_dim": 96,
    "quick_gelu": True,
    "vision_cfg": {"image_size": IMAGE_SIZE, "patch_size": PATCH, "width": 96, "head_width": 32, "layers": 5},
    # The text half is thrown away after training. It reads the description, closed by the highest token.
    "text_cfg": {"context_length": 9, "vocab_size": len(WORDS), "width": 64, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}
SECOND_LAST = -2
FILE = "open_clip_model.safetensors"
# What the dense loss asks of a patch; class 0 is "nothing covers it". The background shows everywhere.
FIELDS = {"size": len(SIZES) + 1, "colour": len(COLOURS) + 1, "shape": len(SHAPES) + 1, "side": 3}


class Batch(NamedTuple):
    """Pictures with the words and the patch labels that they are trained on."""

    pixels: Tensor  # [B, 3, 64, 64]
    words: Tensor  # [B, 9]
    labels: dict[str, Tensor]  # field -> [B, 64]; "background" -> [B]


class DenseHeads(nn.Module):
    """Linear read-outs of a patch; thrown away after training, except that they measured the tower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({field: nn.Linear(width, count) for field, count in FIELDS.items()})
        self.background = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Read every field off every patch: [B, N, W] -> [B, N, classes]."""
        hidden = self.norm(patches)
        return {field: head(hidden) for field, head in self.heads.items()} | {"background": self.background(hidden)}


def patch_labels(picture: Picture) -> dict[str, np.ndarray]:
    """The label of each patch for each field: [64] int."""
    owner = owners(picture).reshape(-1)
    rows = [[0] * len(FIELDS)]
    for thing, (column, _) in zip(picture.scene.things, picture.centres, strict=True):
        indices = SIZES.index(thing.size), COLOURS.index(thing.colour), SHAPES.index(thing.shape), int(column > 3)
        rows.append([index + 1 for index in indices])
    table = np.array(rows)
    return {field: table[owner, place] for place, field in enumerate(FIELDS)}


def pixels_of(pictures: list[Picture]) -> Tensor:
    """Draw pictures and normalise them as the tower's transform does."""
    drawn = torch.from_numpy(np.stack([draw(picture) for picture in pictures])).float() / 255
    return ((drawn - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).contiguous()


def batch_of(pictures: list[Picture]) -> Batch:
    """Draw pictures with their words and labels."""
    words = [[WORDS.index(word) for word in describe(p.scene).split()] + [len(WORDS) - 1] for p in pictures]
    rows = [patch_labels(picture) for picture in pictures]
    labels = {field: torch.from_numpy(np.stack([row[field] for row in rows])) for field in FIELDS}
    labels["background"] = torch.tensor([BACKGROUNDS.index(picture.scene.background) for picture in pictures])
    return Batch(pixels_of(pictures), torch.tensor(words), labels)


class ImageTower(nn.Module, ABC):
    """A vision transformer that is trained beside a small text half."""

    text: CLIP
    """open_clip's text half and the scale of the logits; thrown away after training."""

    @abstractmethod
    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The second-last block's patches [B, 64, W] and the unit image embedding [B, C]."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the visual half as its library would."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Read the written visual half back, so that what is measured is what is shipped."""


class ClipTower(ImageTower):
    """open_clip's own CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.text = CLIP(**CONFIG)

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        visual = cast(VisionTransformer, self.text.visual)
        block = CONFIG["vision_cfg"]["layers"] + SECOND_LAST
        out = visual.forward_intermediates(pixels, indices=[block], output_fmt="NLC")
        return out["image_intermediates"][0], F.normalize(cast(Tensor, out["image_features"]), dim=-1)

    def save(self, folder: Path) -> None:
        """Write the visual half in float16 with open_clip's own configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.text.state_dict()
        tensors = {key: value.half().contiguous() for key, value in state.items() if key.startswith("visual.")}
        save_file(tensors, folder / FILE, {"format": "pt"})
        (folder / FILE).chmod(0o644)
        config = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
        (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")

    def restore(self, folder: Path) -> None:
        tensors = {key: value.float() for key, value in load_file(folder / FILE).items()}
        self.text.load_state_dict(tensors, strict=False)


def dense_loss(read: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of every field; patches that nothing covers are many and easy, so they count little."""
    losses = [F.cross_entropy(read["background"].mean(1), labels["background"])]
    for field, count in FIELDS.items():
        weight = torch.ones(count)
        weight[0] = 0.1
        losses.append(F.cross_entropy(read[field].flatten(0, 1), labels[field].flatten(), weight))
    return torch.stack(losses).sum()


def clip_loss(text: CLIP, image: Tensor, words: Tensor) -> Tensor:
    """The symmetric contrastive loss; a scene that the batch holds twice is a match for both."""
    logits = text.logit_scale.exp().clamp(max=100) * image @ text.encode_text(words, normalize=True).T
    same = (words[:, None] == words[None]).all(-1).float()
    target = same / same.sum(-1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@lru_cache(maxsize=4)
def held_out(split: Split, size: int = 256) -> Batch:
    """The held-out pictures that measure the tower."""
    return batch_of([picture_at(split, SEED, index, size) for index in range(size)])


@torch.no_grad()
def measure(tower: ImageTower, heads: DenseHeads, split: Split) -> dict[str, float]:
    """Linear read-outs at the patches that things cover most, whole scenes, and CLIP retrieval over 256 scenes."""
    tower.eval()
    batch = held_out(split)
    patches, image = tower.encode(batch.pixels)
    logits = heads(patches)
    backgrounds = logits.pop("background").mean(1).argmax(-1)
    read = {field: values.argmax(-1) for field, values in logits.items()}
    covered = batch.labels["size"] > 0
    result = {f: (read[f] == batch.labels[f])[covered].float().mean().item() for f in FIELDS}
    result["background"] = (backgrounds == batch.labels["background"]).float().mean().item()
    right = torch.stack([(read[f] == batch.labels[f]) | ~covered for f in FIELDS]).all(0)
    result["all_of_a_patch"] = right[covered].float().mean().item()
    scores = image @ tower.text.encode_text(batch.words, normalize=True).T
    order = torch.arange(len(scores))
    result["i2t_r1"] = (scores.argmax(1) == order).float().mean().item()
    result["t2i_r1"] = (scores.argmax(0) == order).float().mean().item()
    tower.train()
    return {key: round(value, 4) for key, value in result.items()}


def train_tower(
    name: str,
    build: Callable[[], ImageTower],
    folder: Path,
    steps: int,
    batch_size: int = 128,
    lr: float = 2e-3,
) -> None:
    """Train an image tower, write it, and write down what the written one can do."""
    torch.manual_seed(SEED)
    tower = build()
    heads = DenseHeads(CONFIG["vision_cfg"]["width"])

    def loss_of_step(step: int) -> Tensor:
        start = step * batch_size
        batch = batch_of([picture_at("train", SEED, index, 0) for index in range(start, start + batch_size)])
        patches, image = tower.encode(batch.pixels)
        return dense_loss(heads(patches), batch.labels) + clip_loss(tower.text, image, batch.words)

    parameters = [*tower.parameters(), *heads.parameters()]
    cost = fit(
        name,
        parameters,
        loss_of_step,
        steps=steps,
        lr=lr,
        weight_decay=0.05,
        probe=lambda: str(measure(tower, heads, "test")),
        probe_every=200,
    )
    tower.save(folder)
    tower.restore(folder)
    card = {"seed": SEED, "pictures": steps * batch_size, **cost}
    card |= {split: measure(tower, heads, split) for split in ("test", "unseen_pairs")}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def train(folder: Path, steps: int = 1200) -> None:
    """Train the tower and write it as an open_clip folder."""
    train_tower("vit", ClipTower, folder, steps)
