"""Cached features of a data set, as training reads them: no picture is decoded, no encoder runs."""

from dataclasses import dataclass
from pathlib import Path

from mmbridge_registry import Record, UserError
from torch import Tensor

from mmbridge.features.folder import RECORDS, Manifest, shard_file
from mmbridge.features.records import UNREADABLE, mark, open_records
from mmbridge.features.shards import open_shard, read_features
from mmbridge.features.views import view_at


@dataclass(frozen=True)
class CachedFeatures:
    """Features of the records of one data set. Picklable and small: files are opened where they are read."""

    name: str
    """The data set's name in the mixture."""
    folder: Path
    manifest: Manifest
    seed: int
    """The run's seed, by which a view is drawn."""

    def find(self, index: int, record: Record) -> int:
        """Give the row of a record's image.

        Raises:
            ValueError: the image could not be read when features were written.
            UserError: the record is not the one that was indexed.
        """
        row, sign = open_records(self.folder / RECORDS)[index].tolist()
        if sign == UNREADABLE:
            raise ValueError("it could not be read when the features were written")
        if sign != mark(record):
            what = f"record {index} ({record.name or 'without a name'}) of data.{self.name} is not the one that it was"
            do = "Remove the folder and write the features again: `mmbridge data features CONFIG`."
            raise UserError(f"{what} when these features were written.", where=self.folder, do=do)
        shard, image = divmod(row, self.manifest.images_per_shard)
        unreadable = open_shard(shard_file(self.folder, shard)).unreadable
        if image in unreadable:
            raise ValueError(unreadable[image])
        return row

    def read(self, row: int, index: int, epoch: int) -> Tensor:
        """Read the features [N,W] of the view that record `index` shows in an epoch.

        Raises:
            UserError: the shard is damaged.
        """
        return self.read_view(row, view_at(self.seed, self.name, index, epoch, self.manifest.shape[0]))

    def read_view(self, row: int, view: int) -> Tensor:
        """Read the features [N,W] of one view of an image.

        Raises:
            UserError: the shard is damaged.
        """
        shard, image = divmod(row, self.manifest.images_per_shard)
        return read_features(shard_file(self.folder, shard), image, view)
