"""Where every key of a config was written, and the mistakes found there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mmbridge_registry import MmbridgeError, UserError

KeyPath = tuple[str, ...]
"""Keys from the top of a config downwards; items of a list by their number."""

SHOWN = 10


def dotted(path: KeyPath) -> str:
    """Write a key path as overrides do."""
    return ".".join(path)


class ConfigError(UserError):
    """Every mistake of a config, one line each."""

    def __init__(self, mistakes: Iterable[MmbridgeError]) -> None:
        self.mistakes = tuple(mistakes)
        lines = [str(mistake) for mistake in self.mistakes[:SHOWN]]
        if len(self.mistakes) > SHOWN:
            lines.append(f"... and {len(self.mistakes) - SHOWN} more mistakes.")
        super().__init__("\n".join(lines))


@dataclass
class Problems:
    """Collects mistakes, so that a user sees all of them at once."""

    places: dict[KeyPath, str] = field(default_factory=dict)
    """`file:line` (or `command line`) by key path."""
    found: list[MmbridgeError] = field(default_factory=list)

    def where(self, path: KeyPath) -> str:
        """Give `file:line: key`; a key that nobody wrote is placed at the nearest one above it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return f"{self.places[path[:end]]}: {dotted(path)}"
        return ": ".join(filter(None, (self.places.get(()), dotted(path))))

    def add(self, path: KeyPath, what: str, do: str | None = None) -> None:
        """Note a mistake at a key."""
        self.found.append(UserError(what, where=self.where(path), do=do))

    def mapping(self, path: KeyPath, value: object) -> dict[str, object] | None:
        """Give a mapping as it is and nothing as an empty one; note anything else as a mistake."""
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return dict(value)
        self.add(path, f"expected a mapping (key: value), got {value!r}.")
        return None

    def stop_if_any(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            ConfigError: with a line per mistake.
        """
        if self.found:
            raise ConfigError(self.found)
