"""The quarantine: a list of the records that could not be used, and the limit at which there are too many."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from mmbridge_registry import MmbridgeError, UserError

from mmbridge.collectives import Collectives
from mmbridge.data.limit import too_many
from mmbridge.data.samples import BadSample, name_some
from mmbridge.failing import of_first


class Quarantine:
    """Writes each bad record once to `quarantine.jsonl`, and stops the run when there are too many.

    How many that is says `too_many`. The count begins with this object; the file is the run's. Ranks count together:
    each has the same numbers, so all of them stop at the same step, with the same words.
    """

    def __init__(self, path: Path, max_bad_fraction: float, collectives: Collectives | None = None) -> None:
        self.path = path
        self.max_bad_fraction = max_bad_fraction
        self.collectives = collectives or Collectives()
        self.seen = 0
        self.bad: dict[tuple[str, str], BadSample] = {}
        self._written = set(_listed(path))

    def report(self, bad: Sequence[BadSample], seen: int, failure: MmbridgeError | None = None) -> None:
        """Take note of what was bad among `seen` more samples of this rank; every rank calls this for every step.

        Raises:
            UserError: there are too many; the message names the first few.
            MmbridgeError: the `failure` of a rank that cannot go on, on all of them.
        """
        new = [sample for sample in bad if (sample.dataset, sample.name) not in self.bad]
        seen, reported, failed = self.collectives.tally(seen, len(new), failure is not None)
        self.seen += seen
        if reported:
            self._note(self._of_all(new))
        if failed:
            raise of_first(failure, self.collectives)
        if too_many(len(self.bad), self.seen, self.max_bad_fraction):
            what = f"{len(self.bad)} of {self.seen} samples cannot be used, more than {self.max_bad_fraction:.2%}: "
            raise UserError(
                f"{what}{name_some(list(self.bad.values()))}.",
                where=self.path,
                do="Mend or remove them, or raise run.max_bad_fraction.",
            )

    def _of_all(self, new: Sequence[BadSample]) -> Iterator[BadSample]:
        for text in self.collectives.gather_texts(json.dumps([asdict(sample) for sample in new])):
            yield from (BadSample(**fields) for fields in json.loads(text))

    def _note(self, bad: Iterable[BadSample]) -> None:
        for sample in bad:
            key = (sample.dataset, sample.name)
            self.bad.setdefault(key, sample)
            if key not in self._written and self.collectives.rank == 0:
                self._written.add(key)
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
