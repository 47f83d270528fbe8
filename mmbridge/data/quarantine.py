"""The quarantine: a list of the records that could not be used, and the limit at which there are too many."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from mmbridge_registry import UserError

from mmbridge.data.limit import too_many
from mmbridge.data.samples import BadSample, name_some


class Quarantine:
    """Writes each bad record once to `quarantine.jsonl`, and stops the run when there are too many.

    How many that is says `too_many`. The count begins with this object; the file is the run's.
    """

    def __init__(self, path: Path, max_bad_fraction: float) -> None:
        self.path = path
        self.max_bad_fraction = max_bad_fraction
        self.seen = 0
        self.bad: dict[tuple[str, str], BadSample] = {}
        self._written = set(_listed(path))

    def report(self, bad: Sequence[BadSample], seen: int) -> None:
        """Take note of what was bad among `seen` more samples.

        Raises:
            UserError: there are too many; the message names the first few.
        """
        self.seen += seen
        for sample in bad:
            key = (sample.dataset, sample.name)
            self.bad.setdefault(key, sample)
            if key not in self._written:
                self._written.add(key)
                self._append(sample)
        if too_many(len(self.bad), self.seen, self.max_bad_fraction):
            what = f"{len(self.bad)} of {self.seen} samples cannot be used, more than {self.max_bad_fraction:.2%}: "
            raise UserError(
                f"{what}{name_some(list(self.bad.values()))}.",
                where=self.path,
                do="Mend or remove them, or raise run.max_bad_fraction.",
            )

    def _append(self, sample: BadSample) -> None:
        # Ranks share the file: one short write in append mode is not torn.
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(sample)) + "\n")


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
            yield entry["dataset"], entry["name"]
        except (ValueError, KeyError, TypeError):  # the last line of a run that was killed
            continue
