"""Drawing: deterministic, in the colours that the scene names, every shape and size its own."""

import numpy as np
from mmbridge_tiny_world.drawing import BACKGROUND_RGB, COLOUR_RGB, RADIUS, coverage, draw, mask, owners
from mmbridge_tiny_world.world import SHAPES, Picture, Scene, Thing, picture_at

PICTURE = Picture(Scene((Thing("large", "red", "circle"), Thing("small", "blue", "star")), "teal"), ((1, 2), (6, 5)))


def test_the_same_picture_has_the_same_pixels():
    pictures = [picture_at("train", 0, index, 0) for index in range(5)]
    assert all((draw(picture) == draw(picture)).all() for picture in pictures)
    assert not (draw(pictures[0]) == draw(pictures[1])).all()


def test_colours_are_where_the_things_are():
    pixels = draw(PICTURE)
    assert pixels.shape == (64, 64, 3)
    assert tuple(pixels[2 * 8 + 4, 1 * 8 + 4]) == COLOUR_RGB["red"]
    assert tuple(pixels[5 * 8 + 4, 6 * 8 + 4]) == COLOUR_RGB["blue"]
    assert tuple(pixels[0, 32]) == BACKGROUND_RGB["teal"]


def test_owners_are_the_patches_that_differ_from_the_background():
    patches = draw(PICTURE).reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, -1, 3)
    touched = (patches != np.array(BACKGROUND_RGB["teal"])).any((1, 2))
    owner = owners(PICTURE).reshape(-1)
    assert not (owner[~touched] > 0).any()
    assert owner[2 * 8 + 1] == 1
    assert owner[5 * 8 + 6] == 2


def test_shapes_can_be_told_apart_at_both_sizes():
    for size in RADIUS:
        masks = [mask(size, shape) for shape in SHAPES]
        gaps = [np.abs(a - b).mean() for i, a in enumerate(masks) for b in masks[:i]]
        assert min(gaps) > 0.05


def test_no_thing_leaves_its_nine_patches():
    for shape in SHAPES:
        assert abs(coverage("small", shape).sum() * 64 - mask("small", shape).sum()) < 1e-2
