"""Run by a test in a process of its own: hold a loader with workers, then end in the way that is asked for."""

import signal
import sys

import torch
from mmbridge_registry import Dataset, Record
from PIL import Image

from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import Mixture

stopped = []


class Grey(Dataset):
    def __len__(self) -> int:
        return 10

    def read(self, index: int) -> Record:
        if ending == "mistake":
            raise OSError("nothing here")
        return Record(Image.new("L", (4, 4), index), (f"grey {index}",))


def zeros(_: object) -> torch.Tensor:
    return torch.zeros(3, 2, 2)


ending = sys.argv[1]
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stopped.append(True))
batches = StepBatches(
    mixture=Mixture({"grey": Grey()}, {"grey": 1}, 0),
    transform=zeros,
    objectives={},
    bridge_tokenizer=None,
    language_tokenizer=None,
    batch_size=4,
)
steps = iter(load(batches, 0, 10**9, 2))
next(steps)
print("loading", flush=True)
if ending == "error":
    raise SystemError("held to the end")
while ending != "end" and not stopped:
    next(steps)
for _ in range(20):  # the workers must still be there for what is left to do after the signal
    next(steps)
print("ended by its own will", flush=True)
