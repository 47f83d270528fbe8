"""Time reading of tar shards beside webdataset and beside `datasets` streaming: the same tars, one process, one run.

    python benchmarks/tar_reading.py                                          # 30,000 samples, 0.4 GB
    python benchmarks/tar_reading.py --samples 1000000 --folder /data/tars    # 13 GB; kept, and used again

Tars are made as img2dataset writes them, from a few JPEGs. Everything lies in the page cache, so what is measured is
the code and not a disk; rates are per second of CPU time, which other work on the machine changes less. webdataset
and `datasets` read in their own order, as they are: shards shuffled, and a buffer of 1000 samples.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmbridge_registry import DATASET, Dataset
from mmbridge_registry.discovery import discover
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mmbridge.data.images import decode
from mmbridge.data.order import Mixture

PHOTOGRAPHS = 64
BUFFER = 1000


def photographs(side: int) -> list[bytes]:
    """Make JPEGs as large as photographs are: smooth colours with some noise."""
    random, encoded = np.random.default_rng(0), []
    for _ in range(PHOTOGRAPHS):
        smooth = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype="uint8")).resize((side, side))
        noisy = np.asarray(smooth, dtype="float32") + random.normal(0, 6, (side, side, 3))
        buffer = BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(buffer, "JPEG", quality=85)
        encoded.append(buffer.getvalue())
    return encoded


def member(name: str, content: bytes) -> bytes:
    """A file as it stands in a tar: header, content, and zeros up to a whole block."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def sample(key: str, image: bytes, side: int) -> bytes:
    """The three files of a sample, as img2dataset names and fills them."""
    caption = f"picture {key} of many"
    said: dict[str, Any] = {"caption": caption, "url": f"https://a.example/{key}", "key": key}
    said |= {"status": "success", "width": side, "height": side}
    parts = {"jpg": image, "json": json.dumps(said, indent=4).encode(), "txt": caption.encode()}
    return b"".join(member(f"{key}.{kind}", content) for kind, content in parts.items())


def write_tar(path: Path, samples: range, images: list[bytes], side: int) -> None:
    """Write one tar, unless it is there."""
    if path.exists():
        return
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as tar:
        for place, number in enumerate(samples):
            tar.write(sample(f"{int(path.stem) * 10_000 + place:09}", images[number % PHOTOGRAPHS], side))
        tar.write(bytes(2 * tarfile.BLOCKSIZE))
    unfinished.rename(path)


def write_tars(folder: Path, samples: int, per_tar: int, side: int) -> None:
    """Write tars as img2dataset does, on every processor."""
    images, every = photographs(side), range(samples)
    parts = (
        (folder / f"{number:05}.tar", every[first : first + per_tar]) for number, first in enumerate(every[::per_tar])
    )
    with multiprocessing.Pool() as pool:
        pool.starmap(write_tar, ((path, part, images, side) for path, part in parts), chunksize=8)


def opener(folder: Path, processes: int) -> Callable[[], Dataset]:
    """Give what opens the tars, as a run does; that indexes them the first time."""
    offer = discover().catalog.find(DATASET, "image_tars")
    options = offer.options.model_validate({"tars": str(folder), "processes": processes})
    import_module("mmbridge_image_tars.shards")  # its imports are not what is timed
    return lambda: offer.build(options)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def rate(images: Iterable[bytes], count: int, decoding: bool) -> float:
    """Samples per second of CPU time of an iteration over encoded images, from its first sample on."""
    images = iter(images)
    next(images)
    start = time.process_time()
    read = 0
    for image in islice(images, count):
        read += 1
        if decoding:
            decode(image)
    return round(read / (time.process_time() - start))


def ours(dataset: Dataset) -> Iterator[bytes]:
    """Records in the order of training."""
    mixture = Mixture({"tars": dataset}, {"tars": 1}, seed=0)
    for position in range(len(dataset)):
        record = dataset.read(mixture.place(position).index)
        assert record.texts
        assert isinstance(record.image, bytes)
        yield record.image


def in_webdataset(folder: Path) -> Iterator[bytes]:
    """Samples of webdataset, from a shuffle buffer."""
    import webdataset  # pyright: ignore[reportMissingImports]

    tars = sorted(map(str, folder.glob("*.tar")))
    opened = webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0)  # pyright: ignore[reportAttributeAccessIssue]
    stream = opened.shuffle(BUFFER)
    for sample in stream:
        assert json.loads(sample["json"])["caption"]
        yield sample["jpg"]


def in_datasets(folder: Path) -> Iterator[bytes]:
    """Samples of `datasets` streaming, from a shuffle buffer."""
    import datasets

    tars = sorted(map(str, folder.glob("*.tar")))
    stream = datasets.load_dataset("webdataset", data_files={"train": tars}, split="train", streaming=True)
    stream = stream.cast_column("jpg", datasets.Image(decode=False)).shuffle(seed=0, buffer_size=BUFFER)
    for sample in stream:
        assert sample["json"]["caption"]
        yield sample["jpg"]["bytes"]


class Worker(TorchDataset):
    """What a loader worker does; it gives its own memory in MiB at some positions.

    Not what it shares with others, and not the pages of files, such as the index, which the kernel can take back.
    """

    def __init__(self, dataset: Dataset, every: int) -> None:
        self.mixture, self.every = Mixture({"tars": dataset}, {"tars": 1}, seed=0), every

    def __getitem__(self, position: int) -> float | None:
        self.mixture.datasets["tars"].read(self.mixture.place(position).index)
        if position % self.every:
            return None
        status = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in status if line.startswith("Private_Dirty")) / 1024


def memory(dataset: Dataset) -> list[float]:
    """Memory of a worker at the first sample and after each tenth of an epoch (of 100,000 samples at least)."""
    every = max(len(dataset), 100_000) // 10
    worker = Worker(dataset, every)
    loader = DataLoader(worker, 100, sampler=range(10 * every + 1), num_workers=1, collate_fn=list)
    return [round(size, 1) for batch in loader for size in batch if size is not None]


def measure(folder: Path, count: int, processes: int) -> dict[str, Any]:
    """Measure one folder of tars."""
    for index in folder.glob("*.mmidx"):
        index.unlink()
    open_tars = opener(folder, processes)
    indexing, dataset = timed(open_tars)
    opening, dataset = timed(open_tars)
    mixture = Mixture({"tars": dataset}, {"tars": 1}, seed=0)
    seeking, _ = timed(lambda: dataset.read(mixture.place(len(dataset) - 1).index))
    result: dict[str, Any] = {
        "tars": len(dataset.blocks or ()),
        "samples": len(dataset),
        "index_seconds": round(indexing, 3),
        "members_per_second": round(3 * len(dataset) / indexing),
        "open_again_seconds": round(opening, 4),
        "seek_to_last_ms": round(seeking * 1000, 2),
        "worker_MiB": memory(dataset),
    }
    sides: dict[str, Callable[[], Iterator[bytes]]] = {"mmbridge": lambda: ours(dataset)}
    for name, images in (("webdataset", in_webdataset), ("datasets", in_datasets)):
        if find_spec(name):
            sides[name] = lambda images=images: images(folder)
        else:
            result[name] = "not installed"
    for decoding in (False, True):
        key = "samples_per_cpu_second_decoded" if decoding else "samples_per_cpu_second"
        result[key] = {name: rate(images(), count, decoding) for name, images in sides.items()}
    return result


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=30_000, help="1000 at least")
    parser.add_argument("--per-tar", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--count", type=int, default=20_000, help="samples that are timed, at most")
    parser.add_argument("--processes", type=int, default=1, help="that index")
    parser.add_argument("--folder", type=Path, help="where the tars are made and stay; else they are removed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MMBRIDGE_CACHE"] = str(Path(temporary, "cache"))
        folder = arguments.folder or Path(temporary, "tars")
        folder.mkdir(parents=True, exist_ok=True)
        making, _ = timed(lambda: write_tars(folder, arguments.samples, arguments.per_tar, arguments.side))
        print(f"tars made in {making:.0f} s", file=sys.stderr)
        result = measure(folder, arguments.count, arguments.processes)
    print(json.dumps({**vars(arguments), **result}, indent=1, default=str))


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
