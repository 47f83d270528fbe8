"""A dataset plugin whose opening takes as long as its options say, and tells how far it is."""

import os
import time
from pathlib import Path

from mmbridge_registry import DATASET, Catalog, Dataset, Options, Record, hookimpl
from mmbridge_registry.opening import say_progress

from mmbridge.data.indexing import index_all
from mmbridge.data.opening import DataSet
from mmbridge.recipe import Chosen


class SlowOptions(Options):
    """Options of `slow`."""

    folder: Path
    """Where each part of the work leaves a file, with the process that did it."""
    parts: int = 3
    """Parts of the work."""
    seconds: float = 0.0
    """How long each takes."""
    fails: str = ""
    """`raises` raises a mistake of its own, `dies` ends the process."""


class Slow(Dataset):
    """As many records as there are parts."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return self.parts

    def read(self, index: int) -> Record:
        raise OSError("there is nothing")


def build(options: SlowOptions) -> Dataset:
    """Do the parts that are not done yet."""
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.fails == "raises":
        raise ZeroDivisionError("by zero")
    if options.fails == "dies":
        os._exit(9)
    for part in range(options.parts):
        if not (done := options.folder / str(part)).exists():
            time.sleep(options.seconds)
            done.write_text(str(os.getpid()))
        say_progress(part + 1, options.parts, "parts")
    return Slow(options.parts)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "slow", SlowOptions, build)


def catalog() -> Catalog:
    catalog = Catalog()
    offer_parts(catalog)
    return catalog


def sets(folder: Path, count: int = 2, seconds: float = 0.0, **fails: str) -> list[DataSet]:
    """Data sets `set0`, `set1`, ...; `fails` says how one of them does."""
    offer = catalog().find(DATASET, "slow")
    names = [f"set{number}" for number in range(count)]
    options = [SlowOptions(folder=folder / name, seconds=seconds, fails=fails.get(name, "")) for name in names]
    return [DataSet((name,), (), Chosen(offer, one, name)) for name, one in zip(names, options, strict=True)]


def index_slowly(folder: Path) -> None:
    index_all(sets(folder, seconds=3), catalog(), 2, lambda *said: None)
