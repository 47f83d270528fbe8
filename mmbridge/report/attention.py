"""Attention: where in an image each query looks, layer by layer, as veils over the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mmbridge.report.pictures import Picture, data_uri, embedded
from mmbridge.report.reading import RunRecord

LARGEST = 256
"""Longest side in pixels of an image."""
MOST_VEILS = 1000
"""Veils of one stage at most, about 0.5 kB each; of more, images and layers are left out."""
SIDE = 32
"""Longest side in pixels of a veil, if the patches are not finer; browsers draw it larger smoothly."""
DARKEST = 190
"""Of 255: how dense a veil is over patches that are not looked at."""
LEVELS = 24
"""Grades of a veil, from clear to that."""
GRADES = [round((255 - clear) / 255 * (LEVELS - 1)) for clear in range(256)]
ALPHAS = bytes(round(DARKEST * grade / (LEVELS - 1)) for grade in range(LEVELS))


@dataclass(frozen=True)
class Veil:
    """What a query does not look at, darkened."""

    source: str
    """A data URI."""
    alt: str


@dataclass(frozen=True)
class Look:
    """An image with its veils."""

    picture: Picture
    veils: list[list[Veil]]
    """[layer][query]; the first of each layer is of all queries together: the mean."""


@dataclass(frozen=True)
class Attention:
    """Where the queries of a stage's bridge look."""

    stage: str
    layers: list[str]
    queries: list[str]
    """Names; the first is of all together."""
    looks: list[Look]


def attentions(record: RunRecord) -> list[Attention]:
    """Open the attention of every stage that has some, that of the latest first."""
    opened = [_attention(stage, folder, items) for stage, _, folder, items in record.samples("attention.json") if items]
    return [attention for attention in opened if attention.looks]


def _attention(stage: str, folder: Path, items: list[dict[str, Any]]) -> Attention:
    layers, queries = items[0]["layers"], items[0]["queries"]
    alike = [item for item in items if (item["layers"], item["queries"]) == (layers, queries)]
    kept = spread(len(layers), max(1, MOST_VEILS // (len(queries) + 1)))
    images = alike[: max(1, MOST_VEILS // (len(queries) + 1) // len(kept))]
    names = [f"layer {layers[place]}" for place in kept]
    looks = [
        Look(picture, [_veils(item, place) for place in kept])
        for item in images
        if (picture := embedded(folder / Path(item["image"]).name, LARGEST))
    ]
    return Attention(stage, names, ["all queries", *(f"query {query}" for query in queries)], looks)


def spread(length: int, most: int) -> list[int]:
    """Choose at most `most` places of a sequence, evenly, the last among them."""
    if length <= most:
        return list(range(length))
    return sorted({length - 1 - round(number * length / most) for number in range(most)})


def _veils(item: dict[str, Any], place: int) -> list[Veil]:
    """Draw the veils of a layer; the mean is of those queries that are told of, if that of all is not told."""
    weights, layer = item["weights"][place], f"layer {item['layers'][place]}"
    if "mean" in item:
        mean = item["mean"][place]
    else:
        mean = [math.fsum(column) / len(weights) for column in zip(*weights, strict=True)]
    names = ["all queries", *(f"query {query}" for query in item["queries"])]
    return [_veil(item["grid"], one, f"{name} of {layer}") for name, one in zip(names, [mean, *weights], strict=True)]


def _veil(grid: Sequence[int], weights: Sequence[float], name: str) -> Veil:
    height, width = grid
    most = max(weights)
    clear = Image.new("L", (width, height))
    clear.putdata([round(255 * max(0.0, weight) / (most or 1.0)) for weight in weights])
    fine = max(1, SIDE // max(grid))
    clear = clear.resize((width * fine, height * fine), Image.Resampling.BICUBIC)
    grades = clear.point(GRADES)
    grades = Image.frombytes("P", grades.size, grades.tobytes())
    grades.putpalette((8, 12, 16) * LEVELS)
    row, column = divmod(weights.index(most), width)
    alt = f"{name}: most at row {row + 1} of {height}, column {column + 1} of {width}: {most:.0%} of its weight"
    return Veil(data_uri(grades, "PNG", optimize=True, transparency=ALPHAS), alt)
