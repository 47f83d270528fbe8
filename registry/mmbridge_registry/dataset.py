"""The contract of datasets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from mmbridge_registry.record import Record


class Dataset(ABC):
    """Records by index. Picklable and cheap to copy: it travels to loader workers.

    The order, the mixture, decoding, augmentation and tokenisation are the framework's; a dataset only reads.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of records, at least 1."""

    @abstractmethod
    def read(self, index: int) -> Record:
        """Read record `index` (0 <= index < len). The same index always gives the same record.

        Raises:
            OSError, ValueError: this record cannot be read; the framework replaces, counts and reports it.
        """

    @property
    def blocks(self) -> Sequence[int] | None:
        """Lengths of the pieces that lie together on disk, in the order of their records: they add up to `len`.

        Training then reads from a few pieces at a time. None says that any record is as quick to read as any other.
        """
        return None

    @property
    def contents(self) -> Mapping[str, str]:
        """What the records are made of, by name: a sum or size that is another one when records have changed.

        A run notes it, and does not go on with other data. Empty says that the length is all that is known.
        """
        return {}

    def __getitem__(self, index: int) -> Record:
        """Read a record, so that a dataset can be looked at like a list."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.read(index)
