"""A log for each rank, `logs/rank-N.log`: its own losses and waits, and the traceback if it fails."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmbridge.engine import Engine
from mmbridge.leaving import AskedToEndError

LOG = logging.getLogger("mmbridge.rank")
"""Goes to the rank's file while a run is under way, and nowhere else."""


@contextmanager
def rank_log(folder: Path, engine: Engine) -> Iterator[None]:
    """Write `rank-N.log` while the work inside goes on; a resumed run adds to it."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"rank-{engine.collectives.rank}.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    where = f"process {os.getpid()} on {socket.gethostname()}, {engine.device}"
    LOG.info("rank %d of %d: %s", engine.collectives.rank, engine.collectives.world_size, where)
    try:
        yield
    except AskedToEndError as left:
        LOG.info("%s", left)
        raise
    except BaseException:
        LOG.exception("failed")
        raise
    finally:
        LOG.removeHandler(handler)
        handler.close()
