import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mmbridge_registry import Dataset, Draft, Objective, ObjectiveLoss, Record, Tokens
from PIL import Image
from torch.nn import functional as F


def encoded(number: int, kind: str = "JPEG", size: tuple[int, int] = (40, 32)) -> bytes:
    """A photograph-like picture: smooth colours, texture and noise, so that JPEG has something to do."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / 8
    waves = np.stack([np.sin(x * a + y * b + number) for a, b in random.uniform(-1, 1, (3, 2))], -1)
    pixels = 128 + 90 * waves + random.normal(0, 12, waves.shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class Album(Dataset):
    """Encoded pictures with three captions each; records in `broken` raise, are cut short, or say nothing."""

    size: int = 23
    shade: int = 0
    broken: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return self.size

    def read(self, index: int) -> Record:
        trouble = (self.broken or {}).get(index, (self.broken or {}).get(-1))
        if trouble == "missing":
            return Record(Path(f"/nowhere/{index}.jpg"), ("a b",), name=f"{index}.jpg")
        if trouble == "raises":
            raise OSError("disk on fire")
        image = encoded(index + 1000 * self.shade)
        texts = tuple(f"Picture {index}, shade {self.shade}: " + "very " * n + "nice." for n in range(3))
        if trouble == "truncated":
            image = image[: len(image) // 2]
        if trouble == "silent":
            texts = ("...", " ( ) ")
        return Record(image, texts, image_id=index // 2, name=f"{index}.jpg")


def noisy_crop(picture: Image.Image) -> torch.Tensor:
    """A random crop and noise from torch's default generator, as real train transforms draw them."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    top, left = (int(torch.randint(0, side - 16, ())) for side in pixels.shape[1:])
    return F.interpolate(pixels[None, :, top : top + 16, left : left + 16], 8)[0] + torch.rand(3, 8, 8)


class Letters:
    """A tokenizer: one id per character."""

    def __call__(self, texts: Sequence[str]) -> Tokens:
        length = max(map(len, texts))
        ids = torch.tensor([[ord(letter) for letter in text.ljust(length, "\0")] for text in texts])
        return Tokens(ids, ids != 0)


class Read(Objective):
    """Asks for captions, and for one number per sample that is a function of the sample's seed."""

    passes = frozenset()

    def prepare(self, draft: Draft):
        return {"captions": draft.captions, "drawn": torch.tensor([sample.seed for sample in draft.samples])}

    def forward(self, step) -> ObjectiveLoss:
        raise NotImplementedError


@pytest.fixture
def album() -> type[Album]:
    return Album


@pytest.fixture
def encode():
    return encoded


@pytest.fixture
def preparation() -> dict:
    """What a loader needs beside the data and its place among the ranks."""
    return {
        "transform": noisy_crop,
        "objectives": {"read": Read()},
        "bridge_tokenizer": Letters(),
        "language_tokenizer": None,
    }


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
