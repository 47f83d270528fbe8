"""Images as the Q-Former sees them. Each piece is computed when first asked for, once, and picked by row after that."""

from collections.abc import Callable
from functools import cache

from mmbridge_registry import ImageState
from torch import Tensor

from mmbridge_qformer.attention import pick
from mmbridge_qformer.passes import Memory, Past


class QFormerImages(ImageState):
    """A number of images, and how to come by their pieces."""

    def __init__(
        self, count: int, queries: Callable[[], Tensor], past: Callable[[], Past], memory: Callable[[], Memory]
    ) -> None:
        self._count = count
        self._queries, self._past, self._memory = cache(queries), cache(past), cache(memory)

    def __len__(self) -> int:
        return self._count

    @property
    def queries(self) -> Tensor:
        return self._queries()

    @property
    def past(self) -> Past:
        """Self-attention keys and values of the image pass: what text is decoded from."""
        return self._past()

    @property
    def memory(self) -> Memory:
        """Cross-attention keys and values of the features: what queries look at."""
        return self._memory()

    def select(self, index: Tensor) -> "QFormerImages":
        """Pick (and repeat) images by row [n]; a piece not computed yet is computed for all rows, once."""
        return QFormerImages(
            len(index),
            queries=lambda: self.queries[index],
            past=lambda: [pick(source, index) for source in self.past],
            memory=lambda: [None if source is None else pick(source, index) for source in self.memory],
        )
