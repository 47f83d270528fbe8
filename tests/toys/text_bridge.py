"""A text bridge of a few hundred parameters that keeps the whole contract, and counts what it computes."""

from collections import Counter
from functools import cached_property

import torch
from mmbridge_registry import ImageState, TextBridge, Tokens, VisionEncoder
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, QUERIES, VOCABULARY, CONTRAST, FEATURE = 8, 3, 17, 6, 5


class ToyEncoder(VisionEncoder):
    """Pixels [B,3,2,2] to four features, by a linear map."""

    width, image_size, num_tokens = FEATURE, 2, 4

    def __init__(self, trained: bool = False) -> None:
        super().__init__()
        self.map = nn.Linear(3, FEATURE).requires_grad_(trained)
        self.calls = 0

    def transform(self, train: bool):
        raise NotImplementedError

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return self.map(pixels.flatten(2).transpose(1, 2).to(self.map.weight.dtype)).tanh()


class ToyImages(ImageState):
    """Images with their memory (what matching looks at) and queries, each made once."""

    def __init__(self, bridge: "ToyBridge", features: Tensor) -> None:
        self.bridge, self.features = bridge, features

    @cached_property
    def memory(self) -> Tensor:
        self.bridge.counts["memory rows"] += len(self.features)
        return self.bridge.look(self.features)

    @cached_property
    def queries(self) -> Tensor:
        self.bridge.counts["query rows"] += len(self.features)
        return self.bridge.attend(self.bridge.learned.expand(len(self.features), -1, -1), self.memory)

    def select(self, index: Tensor) -> "ToyImages":
        return ToySelection(self, index)


class ToySelection(ToyImages):
    """Rows of other images."""

    def __init__(self, whole: ToyImages, index: Tensor) -> None:
        self.whole, self.index = whole, index

    @cached_property
    def memory(self) -> Tensor:
        return self.whole.memory[self.index]

    @cached_property
    def queries(self) -> Tensor:
        return self.whole.queries[self.index]


class ToyBridge(TextBridge):
    """One attention over the image; text is a (running) mean of its words."""

    width, num_queries = WIDTH, QUERIES

    def __init__(self) -> None:
        super().__init__()
        self.learned = nn.Parameter(torch.randn(1, QUERIES, WIDTH))
        self.look = nn.Linear(FEATURE, WIDTH)
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.start = nn.Parameter(torch.randn(WIDTH))
        self.image_head, self.text_head = nn.Linear(WIDTH, CONTRAST), nn.Linear(WIDTH, CONTRAST)
        self.match_head = nn.Linear(WIDTH, 2)
        self.temp = nn.Parameter(torch.tensor(0.2))
        self.counts: Counter[str] = Counter()

    @property
    def temperature(self) -> Tensor:
        return self.temp

    def attend(self, queries: Tensor, memory: Tensor) -> Tensor:
        return queries + (queries @ memory.transpose(1, 2)).softmax(-1) @ memory

    def forward(self, features: Tensor) -> Tensor:
        return self.encode_image(features).queries

    def encode_image(self, features: Tensor) -> ToyImages:
        return ToyImages(self, features)

    def encode_text(self, tokens: Tokens) -> Tensor:
        self.counts["text rows"] += len(tokens)
        words = self.words(tokens.ids) * tokens.mask[..., None]
        return (words + words.sum(1, keepdim=True) / tokens.mask.sum(1)[:, None, None]).tanh()

    def decode_text(self, image: ImageState, tokens: Tokens) -> Tensor:
        words = torch.cat([self.start.expand(len(tokens), 1, -1), self.words(tokens.ids[:, 1:])], dim=1)
        return (words.cumsum(1) + image.queries.mean(1, keepdim=True)).tanh()

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        self.counts["vocabulary rows"] += hidden.shape[:-1].numel()
        return hidden @ self.words.weight.T

    def match(self, image: ImageState, tokens: Tokens) -> Tensor:
        assert isinstance(image, ToyImages)
        text = (self.words(tokens.ids) * tokens.mask[..., None]).sum(1, keepdim=True)
        return self.match_head(self.attend(self.learned * text.sigmoid(), image.memory).tanh()).mean(1)

    def embed_image(self, image: ImageState) -> Tensor:
        return F.normalize(self.image_head(image.queries), dim=-1)

    def embed_text(self, hidden: Tensor) -> Tensor:
        return F.normalize(self.text_head(hidden[:, 0]), dim=-1)
