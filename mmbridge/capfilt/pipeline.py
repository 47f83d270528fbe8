"""The pipeline: read a shard's images, caption them, score the captions beside the web's own, keep the best.

Shards need not know of each other: each rank makes its own, and what stands on the disk is not made again.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite

import torch
from mmbridge_registry import Captioner, Catalog, Dataset, Record, Scorer, UserError
from PIL import Image

from mmbridge.building import build
from mmbridge.capfilt.ranking import Ranked, distinct, rank
from mmbridge.capfilt.recipe import CapFilt
from mmbridge.capfilt.shards import Figures, check_same, read_figures, tar_of, write_shard
from mmbridge.data.images import decode
from mmbridge.data.order import draw
from mmbridge.inference.reading import ahead
from mmbridge.loading import load
from mmbridge.watch import Watch


@dataclass(frozen=True)
class Pipeline:
    """A CapFilt pipeline with its parts built, and this rank's share of the work."""

    recipe: CapFilt
    dataset: Dataset
    captioner: Captioner
    scorer: Scorer
    rank: int
    world_size: int

    @classmethod
    def of(cls, recipe: CapFilt, catalog: Catalog, rank: int = 0, world_size: int = 1) -> "Pipeline":
        """Build the parts, cheap ones first, and check that the output is this pipeline's own.

        Raises:
            UserError: the data cannot be opened, weights are missing, the output belongs to another pipeline.
        """
        dataset: Dataset = build(recipe.data, catalog)
        check_same(recipe.settings.output, recipe.key | {"records": len(dataset)}, rank)
        device = device_of(recipe.settings.device)
        # Random weights have to be the same on every rank, and when the pipeline goes on.
        torch.manual_seed(recipe.settings.seed)
        captioner, scorer = [
            build(part, catalog, load=lambda path, stage=None: load(path, stage, device), device=device)
            for part in (recipe.captioner, recipe.scorer)
        ]
        return cls(recipe, dataset, captioner, scorer, rank, world_size)

    @property
    def shards(self) -> int:
        """Number of shards, of all ranks."""
        return -(-len(self.dataset) // self.recipe.settings.records_per_shard)

    def rows(self, shard: int) -> range:
        """Give the records of a shard."""
        size = self.recipe.settings.records_per_shard
        return range(shard * size, min((shard + 1) * size, len(self.dataset)))

    def missing(self) -> list[int]:
        """List the shards that this rank has yet to make."""
        ours = range(self.rank, self.shards, self.world_size)
        return [shard for shard in ours if not tar_of(self.recipe.settings.output, shard).exists()]

    def figures(self) -> Figures:
        """Add up what came of all shards that are there."""
        return sum(read_figures(self.recipe.settings.output, self.shards), start=Figures())

    def run(self, watch: Watch) -> None:
        """Make the shards that are missing, one after the other.

        Raises:
            UserError: a part gives something else than it promises.
        """
        missing = self.missing()
        total = sum(len(self.rows(shard)) for shard in missing)
        for shard in missing:
            before, figures, samples, seen = time.perf_counter(), Figures(records=len(self.rows(shard))), [], 0
            for number, batch in enumerate(self._batches(shard, figures)):
                ranked = self.caption(batch, draw(self.recipe.settings.seed, "capfilt", shard, number))
                for (index, record, _), one in zip(batch, ranked, strict=True):
                    if not one.captions:
                        figures.bad.append((f"record {index}", f"{record.name}: no caption has words"))
                        continue
                    samples.append((index - self.rows(shard).start, record, one.said(self.recipe.settings.keep)))
                    self._count(figures, one)
                watch("captioning", total, len(batch))
                seen += len(batch)
            watch("captioning", total, figures.records - seen)
            figures.seconds = time.perf_counter() - before
            write_shard(self.recipe.settings.output, shard, samples, figures, self.rank)

    def caption(self, batch: Sequence[tuple[int, Record, Image.Image]], seed: int) -> list[Ranked]:
        """Caption images and rank what was written together with what came with them."""
        images, count = [image for _, _, image in batch], self.recipe.settings.captions
        made = self.captioner.caption(images, count, seed)
        _check([len(texts) for texts in made], [count] * len(images), self.recipe.captioner.where)
        web = [list(record.texts) for _, record, _ in batch]
        texts = [distinct([*own, *new]) for own, new in zip(web, made, strict=True)]
        scores = self.scorer.score(images, texts)
        _check([len(row) for row in scores], [len(row) for row in texts], self.recipe.scorer.where)
        if not all(map(isfinite, chain.from_iterable(scores))):
            what = "this part gave a score that is no finite number."
            raise UserError(what, where=self.recipe.scorer.where, do="Try dtype: float32, or other weights.")
        return [rank(*row) for row in zip(texts, scores, web, strict=True)]

    def _batches(self, shard: int, figures: Figures) -> Iterator[list[tuple[int, Record, Image.Image]]]:
        """Give the images of a shard that can be read, so many at a time; note the others."""
        full: list[tuple[int, Record, Image.Image]] = []
        size = self.recipe.settings.batch_size
        for read in ahead(self.rows(shard), self._read, size):
            for index, future in read:
                try:
                    full.append((index, *future.result()))
                except (OSError, ValueError) as error:
                    figures.bad.append((f"record {index}", str(error)))
            while len(full) >= size:
                yield full[:size]
                full = full[size:]
        if full:
            yield full

    def _read(self, index: int) -> tuple[Record, Image.Image]:
        record = self.dataset.read(index)
        try:
            return record, decode(record.image)
        except (OSError, ValueError) as error:
            raise ValueError(f"{record.name}: {error}") from error

    def _count(self, figures: Figures, ranked: Ranked) -> None:
        kept = ranked.captions[: self.recipe.settings.keep]
        figures.images += 1
        figures.made += len(set(ranked.captions) - set(ranked.web))
        figures.kept += len(kept)
        figures.kept_from_web += len(set(kept) & set(ranked.web))
        figures.score += sum(ranked.scores[: self.recipe.settings.keep])


def device_of(device: str) -> str:
    """Name the device to compute on; under torchrun each rank has its own GPU.

    Raises:
        UserError: CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device", where="device", do="Use device=cpu, or auto.")
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _check(given: list[int], expected: list[int], where: str) -> None:
    if given != expected:
        raise UserError(f"this part gave {given} for {expected}.", where=where, do="Mend the plugin that offers it.")
