"""Write features and stop in the middle of a shard after so many whole ones, to be killed there."""

import sys
import time
from pathlib import Path

import torch
from toys.features import write_features

from mmbridge.features import shards

torch.set_num_threads(1)
where, whole = Path(sys.argv[1]), int(sys.argv[2])
save = shards.save_file


def save_half(tensors: dict[str, torch.Tensor], file: Path, metadata: dict[str, str]) -> None:
    """Save a shard; of the one after `whole` only the first half."""
    save(tensors, file, metadata)
    if len(list(file.parent.glob("*.safetensors"))) == whole:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        print("held", flush=True)
        time.sleep(600)


shards.save_file = save_half  # type: ignore[assignment]
write_features(where)
