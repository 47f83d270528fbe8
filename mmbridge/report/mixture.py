"""The data mix: what each stage reads, in which shares, and how often it comes around."""

from dataclasses import dataclass

from mmbridge.report.reading import RunRecord


@dataclass(frozen=True)
class Source:
    """A data set in a stage's mix."""

    name: str
    kind: str
    """The dataset part and its split."""
    weight: float
    share: float
    """Of the stage's samples."""
    read: int | None
    """Samples read so far; None if no step was logged."""
    records: int | None
    """Records it has; None if the lock does not tell."""

    @property
    def rounds(self) -> float | None:
        """How often it was read through."""
        return None if self.read is None or not self.records else self.read / self.records


def mixtures(record: RunRecord) -> dict[str, list[Source]]:
    """Give the mix of every stage, largest share first."""
    data, locked = record.resolved.get("data") or {}, record.lock.get("data") or {}
    mixes = {}
    for stage, settings in record.resolved["stages"].items():
        weights = settings.get("data") or {name: one.get("weight", 1.0) for name, one in data.items()}
        lines, total = record.lines.get(stage), sum(weights.values())
        samples = lines[-1]["step"] * settings["batch_size"] if lines else None
        mixes[stage] = [
            Source(
                name=name,
                kind=_kind(data.get(name) or {}),
                weight=weight,
                share=weight / total,
                read=None if samples is None else round(samples * weight / total),
                records=(locked.get(name) or {}).get("records"),
            )
            for name, weight in sorted(weights.items(), key=lambda one: -one[1])
        ]
    return mixes


def _kind(dataset: dict[str, object]) -> str:
    return ", ".join(str(dataset[key]) for key in ("name", "split") if dataset.get(key))
