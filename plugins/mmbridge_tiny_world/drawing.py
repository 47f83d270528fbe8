"""Drawing: a picture of the world as 64 x 64 RGB pixels, from masks that are drawn once."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .world import BACKGROUNDS, COLOURS, Picture

IMAGE_SIZE = 64
PATCH = 8
RADIUS = {"small": 7, "large": 12}
COLOUR_RGB: dict[str, tuple[int, int, int]] = dict(
    zip(
        COLOURS,
        (
            (225, 30, 35),
            (20, 165, 50),
            (35, 60, 230),
            (250, 225, 40),
            (50, 220, 240),
            (150, 30, 190),
            (255, 255, 255),
            (0, 0, 0),
        ),
        strict=True,
    )
)
BACKGROUND_RGB: dict[str, tuple[int, int, int]] = dict(
    zip(BACKGROUNDS, ((128, 128, 128), (115, 85, 60), (60, 115, 115), (165, 145, 185)), strict=True)
)


def outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a shape in the unit square [-1, 1]; a circle is a polygon of many corners."""
    if shape == "square":
        return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    if shape == "diamond":
        return [(0, -1), (0.75, 0), (0, 1), (-0.75, 0)]
    if shape == "triangle":
        return [(0, -0.95), (1, 0.85), (-1, 0.85)]
    if shape == "cross":
        arm = 0.33
        quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
        turns = [np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), turn) for turn in range(4)]
        return [tuple(corner) for turn in turns for corner in quarter @ turn.T]
    corners = 10 if shape == "star" else 64
    angles = np.arange(corners) * 2 * np.pi / corners
    radii = np.where(np.arange(corners) % 2, 0.42, 1.0) if shape == "star" else np.ones(corners)
    return list(zip(radii * np.sin(angles), -radii * np.cos(angles), strict=True))


@lru_cache
def mask(size: str, shape: str) -> np.ndarray:
    """The share of each pixel that the shape covers, [2r, 2r, 1] float32, drawn eightfold for smooth edges."""
    radius, fine = RADIUS[size], 8
    canvas = Image.new("L", (2 * radius * fine, 2 * radius * fine))
    points = [((x + 1) * radius * fine, (y + 1) * radius * fine) for x, y in outline(shape)]
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    small = canvas.resize((2 * radius, 2 * radius), Image.Resampling.BOX)
    return np.asarray(small, np.float32)[..., None] / 255


def draw(picture: Picture) -> np.ndarray:
    """Paint a picture: [64, 64, 3] uint8."""
    scene, centres = picture
    canvas = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), BACKGROUND_RGB[scene.background], np.float32)
    for thing, (column, row) in zip(scene.things, centres, strict=True):
        radius, cover = RADIUS[thing.size], mask(thing.size, thing.shape)
        # The centre of a patch, not a corner of four: the small tower learns shapes there, and not where they float.
        x, y = (PATCH * place + PATCH // 2 - radius for place in (column, row))
        window = canvas[y : y + 2 * radius, x : x + 2 * radius]
        window += cover * (np.array(COLOUR_RGB[thing.colour], np.float32) - window)
    return np.rint(canvas).astype(np.uint8)


def draw_image(picture: Picture) -> Image.Image:
    """Paint a picture as a PIL image."""
    return Image.fromarray(draw(picture))


def owners(picture: Picture) -> np.ndarray:
    """Say for each patch which thing covers at least a twentieth of it: [8, 8] int, 0 nothing, 1 the first thing."""
    grid = np.zeros((IMAGE_SIZE // PATCH, IMAGE_SIZE // PATCH), np.int64)
    for number, (thing, (column, row)) in enumerate(zip(picture.scene.things, picture.centres, strict=True), 1):
        grid[row - 1 : row + 2, column - 1 : column + 2][coverage(thing.size, thing.shape) > 0.05] = number
    return grid


@lru_cache
def coverage(size: str, shape: str) -> np.ndarray:
    """The share that a shape covers of the 3 x 3 patches around its centre."""
    margin = 3 * PATCH // 2 - RADIUS[size]
    window = np.pad(mask(size, shape)[..., 0], margin)
    return window.reshape(3, PATCH, 3, PATCH).mean((1, 3))
