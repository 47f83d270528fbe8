"""Writing features: find the data sets, index their images, weigh what is to come against the disk, encode by shards.

Ranks need not know of each other: of the shards that are missing each takes its own, and whole shards stay.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmbridge_registry import Catalog, Dataset, UserError, VisionEncoder

from mmbridge.assemble import assemble_encoder
from mmbridge.building import build
from mmbridge.data.loader import in_processes
from mmbridge.engine import Engine, alone
from mmbridge.features.encoding import BATCH, Pictures, Seen, encode
from mmbridge.features.folder import IMAGES, Manifest, images_per_shard, read_manifest, shard_file, write_manifest
from mmbridge.features.index import build_index
from mmbridge.features.key import compare, key_of_data, key_of_encoder
from mmbridge.features.shards import missing, open_shard, write_shard
from mmbridge.recipe import Recipe
from mmbridge.watch import Watch


@dataclass(frozen=True)
class Work:
    """One data set's features, and the shards that this rank has yet to write."""

    name: str
    folder: Path
    pictures: Pictures
    manifest: Manifest
    shards: Sequence[int]

    @property
    def images(self) -> int:
        """Images to encode."""
        return sum(len(self.manifest.rows(shard)) for shard in self.shards)


@dataclass(frozen=True)
class Writer:
    """The encoder, and this rank's share of the work."""

    recipe: Recipe
    encoder: VisionEncoder
    here: Engine
    catalog: Catalog
    rank: int
    world_size: int
    watch: Watch

    @classmethod
    def of(cls, recipe: Recipe, catalog: Catalog, rank: int, world_size: int, watch: Watch) -> "Writer":
        """Assemble the encoder of a recipe.

        Raises:
            UserError: weights that are not here, or no such device.
        """
        here = alone(recipe.run)
        return cls(recipe, assemble_encoder(recipe, catalog).to(here.device), here, catalog, rank, world_size, watch)

    def prepare(self) -> list[Work]:
        """Open the data sets that stages read, index their images, and say what is left to do.

        Raises:
            UserError: other features lie there, or the disk has no room for these.
        """
        recipe = self.recipe
        assert recipe.features is not None
        key = key_of_encoder(recipe, self.catalog)
        form = self._form()
        works = []
        for name in read_by_stages(recipe):
            folder, dataset = recipe.features.folder / name, build(recipe.data[name].dataset, self.catalog)
            manifest = self._manifest(name, folder, dataset, key | key_of_data(recipe, name, len(dataset)), form)
            part = recipe.data[name].dataset.offer.name
            pictures = Pictures(dataset, folder / IMAGES, self.encoder.transform(train=True), part, form[0][0])
            ours = [number for number in missing(folder, manifest) if number % self.world_size == self.rank]
            works.append(Work(name, folder, pictures, manifest, ours))
        self._check_room(works)
        return works

    def write(self, work: Work) -> float:
        """Encode the images of a data set and write them shard by shard; give the seconds that it took."""
        began = time.perf_counter()
        seen = in_processes(work.pictures, [*_ranges(work)], self.recipe.run.workers)
        for shard in work.shards:
            rows = work.manifest.rows(shard)
            features = torch.zeros(len(rows), *work.manifest.shape, dtype=getattr(torch, work.manifest.dtype))
            unreadable: dict[int, str] = {}
            for batch in _batches(rows, work.manifest):
                self._encode(next(seen), rows.start, features, unreadable)
                self.watch(f"encoding {work.name}", work.images, len(batch))
            write_shard(shard_file(work.folder, shard), self.rank, features, unreadable)
        return time.perf_counter() - began

    def _encode(self, seen: Seen, first: int, features: torch.Tensor, unreadable: dict[int, str]) -> None:
        if seen.rows:
            encoded = encode(self.encoder, seen.pixels, self.here)
            features[[row - first for row in seen.rows]] = encoded.unflatten(0, (len(seen.rows), -1))
        unreadable.update((row - first, why) for row, why in seen.unreadable.items())

    def _form(self) -> tuple[tuple[int, int, int], str]:
        """Give views, tokens and width of an image's features and their dtype, as the encoder has them here."""
        assert self.recipe.features is not None
        side = self.encoder.image_size
        features = encode(self.encoder, torch.zeros(1, 3, side, side), self.here)
        _, tokens, width = features.shape
        return (self.recipe.features.views, tokens, width), str(features.dtype).removeprefix("torch.")

    def _manifest(
        self, name: str, folder: Path, dataset: Dataset, key: dict, form: tuple[tuple[int, int, int], str]
    ) -> Manifest:
        """Read what lies in a folder, which must be the same; or index the images of the data set."""
        manifest = read_manifest(folder)
        if manifest is not None:
            do = "Write them elsewhere (features.folder=ANOTHER), remove these, or undo the change."
            compare({**manifest.key, "form": (manifest.shape, manifest.dtype)}, {**key, "form": form}, folder, do)
            return manifest

        def advance(records: int) -> None:
            self.watch(f"indexing {name}", len(dataset), records)

        images, index = build_index(dataset, folder, self.rank, self.recipe.run.workers, advance)
        bare = Manifest(key, len(dataset), images, *form, 1, index)
        manifest = Manifest(key, len(dataset), images, *form, images_per_shard(bare.bytes_per_image), index)
        write_manifest(folder, manifest, self.rank)
        return manifest

    def _check_room(self, works: Sequence[Work]) -> None:
        needed = sum(bytes_to_write(work) for work in works)
        free = shutil.disk_usage(works[0].folder).free
        if needed > free:
            what = f"the features take {gigabytes(needed)} more, but the disk has room for {gigabytes(free)}."
            do = "Name a folder on another disk, read fewer data sets, or keep fewer views."
            raise UserError(what, where=works[0].folder.parent, do=do)


def read_by_stages(recipe: Recipe) -> list[str]:
    """Name the data sets that some stage reads, in the order of the config."""
    return [
        name for name in recipe.data if any(name in (stage.data or recipe.data) for stage in recipe.stages.values())
    ]


def bytes_to_write(work: Work) -> int:
    """Give the bytes that are still to be written of a data set's features, by all ranks."""
    return sum(len(work.manifest.rows(shard)) for shard in missing(work.folder, work.manifest)) * (
        work.manifest.bytes_per_image
    )


def unreadable_images(work: Work) -> int:
    """Count the images that could not be read, in the shards that are there."""
    there = set(range(work.manifest.shards)) - set(missing(work.folder, work.manifest))
    return sum(len(open_shard(shard_file(work.folder, shard)).unreadable) for shard in there)


def gigabytes(count: int) -> str:
    """Show a number of bytes."""
    return f"{count / 1e9:.3g} GB"


def _batches(rows: range, manifest: Manifest) -> list[range]:
    size = max(1, BATCH // manifest.shape[0])
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _ranges(work: Work) -> Iterator[range]:
    for shard in work.shards:
        yield from _batches(work.manifest.rows(shard), work.manifest)
