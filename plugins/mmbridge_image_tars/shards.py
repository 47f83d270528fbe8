"""Tar shards as a dataset: a sample is a seek and a read of exactly what is needed."""

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from weakref import finalize

from mmbridge_registry import Dataset, Record, UserError

from mmbridge_image_tars import ImageTarsOptions
from mmbridge_image_tars.captions import caption_of, captions_in, facts_in, parse
from mmbridge_image_tars.catalogue import Shard, changed, find_tars, index_tars
from mmbridge_image_tars.headers import BLOCK, check_sum, name_in
from mmbridge_image_tars.index import HEADER, ROW, Stamp, index_path, read_index, write_index

MOST_OPEN = 64
"""Tars that a process keeps open, over all its data sets: an order by blocks reads from 16 of each."""
LARGEST = 2**28
"""Bytes of the largest member that is read: a header can promise as many as the tar is long."""


class OpenTar:
    """A tar and its index, open for reading at any place by any thread."""

    def __init__(self, shard: Shard) -> None:
        """Open a tar.

        Raises:
            UserError: it is gone, or not the one that was indexed.
        """
        self.files: list[int] = []
        # Not when it leaves the cache: another thread may be reading.
        finalize(self, _close, self.files)
        index = read_index(index_path(Path(shard.tar))) or write_index(Path(shard.tar))
        try:
            for path in (shard.tar, index_path(Path(shard.tar))):
                self.files.append(os.open(path, os.O_RDONLY))
        except OSError as error:
            raise UserError(f"this tar cannot be read ({error.strerror}).", where=shard.tar) from error
        now = Stamp.of(Path(shard.tar), self.files[0])
        if not now == shard.stamp == index.stamp:
            raise changed(shard.tar, shard.stamp, now)

    def row(self, number: int) -> tuple[int, ...]:
        """Read where the members of a sample lie: offset and length of image, json and txt."""
        return ROW.unpack(os.pread(self.files[1], ROW.size, HEADER.size + number * ROW.size))

    def read(self, offset: int, length: int) -> bytes:
        """Read a part of the tar.

        Raises:
            ValueError: it is larger than 256 MiB, or not there.
        """
        if length > LARGEST:
            raise ValueError(f"it has {length} bytes, more than {LARGEST}")
        content = os.pread(self.files[0], length, offset)
        if len(content) < length:
            raise ValueError(f"the tar ends before byte {offset + length}")
        return content


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


@lru_cache(maxsize=MOST_OPEN)
def open_tar(shard: Shard) -> OpenTar:
    """Open a tar, or give it if it is open."""
    return OpenTar(shard)


class TarShards(Dataset):
    """The samples of tar shards, shard after shard; pickled it is their paths."""

    def __init__(self, shards: Sequence[Shard], options: ImageTarsOptions) -> None:
        """Join indexed tars into one sequence.

        Raises:
            UserError: there is no sample in any of them.
        """
        self.shards = [shard for shard in shards if shard.samples]
        self.ends = list(accumulate(shard.samples for shard in self.shards))
        self.options = options
        if not self.shards:
            do = "Members of a sample are called 000000000.jpg (.jpeg, .png, .webp), 000000000.json, 000000000.txt."
            raise UserError("there are no images in these tars.", where=options.tars, do=do)

    def __len__(self) -> int:
        return self.ends[-1]

    @property
    def blocks(self) -> Sequence[int]:
        """Samples per tar."""
        return [shard.samples for shard in self.shards]

    @property
    def contents(self) -> Mapping[str, str]:
        """Size and samples of each tar, in order; not its time, which a copy to another disk changes."""
        return {
            f"{place:05d} {Path(shard.tar).name}": f"{shard.stamp.size} bytes, {shard.samples} samples"
            for place, shard in enumerate(self.shards)
        }

    def read(self, index: int) -> Record:
        place = bisect_right(self.ends, index)
        shard = self.shards[place]
        tar = open_tar(shard)
        image, size, *captions = tar.row(index - self.ends[place] + shard.samples)
        header = tar.read(image - BLOCK, BLOCK)
        name = f"{name_in(header).decode(errors='replace')}@{Path(shard.tar).name}"
        try:
            check_sum(header, image - BLOCK)
            texts, facts = self._said(tar, *captions)
            return Record(image=tar.read(image, size), texts=texts, name=name, facts=facts)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def _said(self, tar: OpenTar, json: int, json_size: int, txt: int, txt_size: int) -> tuple[tuple, dict[str, Any]]:
        """Read the captions of a sample and what its json says beside them; a place 0 says that there is none."""
        texts: tuple[str, ...] = ()
        facts: dict[str, Any] = {}
        wanted = self.options.captions
        if json and (wanted != "txt" or self.options.fields):
            said = parse(tar.read(json, json_size))
            facts = facts_in(said, self.options.fields)
            texts = captions_in(said, self.options) if wanted != "txt" else ()
        if txt and not texts and wanted != "json":
            texts = caption_of(tar.read(txt, txt_size))
        return texts, facts


def open_shards(options: ImageTarsOptions) -> TarShards:
    """Open the tars that the options name.

    Raises:
        UserError: there are none, one is damaged or has changed since it was indexed, or they hold no images.
    """
    return TarShards(index_tars(find_tars(options.tars), options.processes), options)
