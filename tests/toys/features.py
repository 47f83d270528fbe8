"""A folder of pictures, some told of twice and some spoilt, a recipe that reads it, and its features."""

from pathlib import Path
from typing import Any

from mmbridge_registry.discovery import Discovered, discover
from toys.spoilt_folder import jpeg, picture, sound_folder, write_list

from mmbridge.config import load_recipe
from mmbridge.features import writing
from mmbridge.features.writing import Work, Writer
from mmbridge.recipe import Recipe

BARE = ("~data", "~stages.representation.data", "~stages.generation", "~model.language_model", "~evaluate")
SMALL = ("stages.representation.steps=6", "stages.representation.batch_size=8", "run.threads=1", "run.workers=0",
         "run.log_every=1", "run.checkpoint_every=3", "run.max_bad_fraction=1")  # fmt: skip
SOUND, PER_SHARD = 19, 8


def write_photos(where: Path) -> None:
    """Write sound pictures, each of them told of twice and far apart; one that is cut short, one that is not there."""
    rows = sound_folder(where / "photos", SOUND)
    (where / "photos" / "cut.jpg").write_bytes(jpeg(picture(100))[:-400])
    rows += [{"image": "cut.jpg", "caption": "Cut."}, {"image": "gone.jpg", "caption": "Gone."}]
    write_list(where / "list.jsonl", rows + [row | {"caption": f"Again {row['caption']}"} for row in rows[:SOUND]])


def recipe_of(where: Path, *overrides: str, cached: bool = True) -> tuple[Recipe, Discovered]:
    """Read the recipe that trains on these pictures, and keeps features beside them if they are to be `cached`."""
    found = discover()
    own = {"name": "image_text", "annotations": where / "list.jsonl", "images": where / "photos"}
    named = [f"data.mine.{key}={value}" for key, value in own.items()]
    beside = [f"run.directory={where}/runs", *([f"features.folder={where}/features"] if cached else [])]
    return load_recipe("blip2_tiny", [*BARE, *SMALL, *named, *beside, *overrides], found), found


def write_features(
    where: Path, *overrides: str, rank: int = 0, world_size: int = 1, watch: Any = lambda *_: None
) -> list[Work]:
    """Write the features of these pictures in shards of 8 images."""
    recipe, found = recipe_of(where, *overrides)
    before = writing.images_per_shard
    writing.images_per_shard = lambda _: PER_SHARD
    try:
        writer = Writer.of(recipe, found.catalog, rank, world_size, watch)
        works = writer.prepare()
        for work in works:
            writer.write(work)
    finally:
        writing.images_per_shard = before
    return works
