"""Make the small frozen towers: `python -m mmbridge_tiny_world.towers [vit|eva|opt|t5|bert|all]`."""

import argparse
from importlib import import_module
from pathlib import Path

import torch

TOWERS = ("vit", "eva", "opt", "t5", "bert")
WEIGHTS = Path(__file__).parent.parent / "weights"


def main() -> None:
    """Train the towers that are asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m mmbridge_tiny_world.towers", description=__doc__)
    parser.add_argument("tower", choices=(*TOWERS, "all"), nargs="?", default="all")
    parser.add_argument("--steps", type=int, help="training steps, instead of each tower's own number")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch; the result depends on them")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the towers (default: as shipped)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = {} if arguments.steps is None else {"steps": arguments.steps}
    for tower in TOWERS if arguments.tower == "all" else (arguments.tower,):
        import_module(f".{tower}", __package__).train(arguments.out / tower, **chosen)


if __name__ == "__main__":
    main()
