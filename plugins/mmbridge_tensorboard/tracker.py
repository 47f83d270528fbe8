"""Event files: one more each time the run goes on, which takes back what the earlier ones say of later steps."""

from collections.abc import Mapping

from mmbridge_registry import TrackedRun, Tracker
from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Tracker):
    """Writes scalars."""

    rewinds = True

    def __init__(self) -> None:
        self.writer: SummaryWriter | None = None

    def start(self, run: TrackedRun, step: int) -> None:
        # TensorBoard shows events from `purge_step` on as if they had never been written.
        self.writer = SummaryWriter(str(run.folder), purge_step=step + 1)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        assert self.writer is not None  # it was started
        for name, number in numbers.items():
            self.writer.add_scalar(name, number, step)
        self.writer.flush()

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.close()
