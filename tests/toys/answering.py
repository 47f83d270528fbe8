"""Toy parts that can be asked: an encoder with a transform, a bridge with words, a language model that repeats."""

import numpy as np
import torch
from mmbridge_registry import Bridge, LanguageModel, Tokens
from mmbridge_registry.prompts import check_images, count_images
from toys.text_bridge import VOCABULARY, ToyBridge, ToyEncoder


class Eye(ToyEncoder):
    """The toy encoder, with a transform to its four pixels; counts images."""

    def __init__(self):
        super().__init__()
        self.images = 0

    def transform(self, train):
        assert not train
        return lambda image: torch.tensor(np.asarray(image.resize((2, 2)))).permute(2, 0, 1) / 255

    def forward(self, pixels):
        self.images += len(pixels)
        return super().forward(pixels)


class Words(ToyBridge):
    """The toy bridge, with a tokenizer and a decoder of its own."""

    def __init__(self):
        super().__init__()
        self.tokenizer = tokenize

    def generate_text(self, image, generation):
        return [f"a picture of {float(row):.4f} in {generation.max_new_tokens}" for row in image.queries.sum((1, 2))]


def tokenize(texts):
    """One token per word; the same word is the same token."""
    rows = [torch.tensor([1 + sum(map(ord, word)) % (VOCABULARY - 1) for word in text.split()]) for text in texts]
    longest = max(map(len, rows))
    mask = torch.stack([torch.arange(longest) < len(row) for row in rows])
    return Tokens(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), mask)


class Voice(LanguageModel):
    """Says what it was given: a number per prompt, which each of its images changes by its place."""

    width, kind, safe_dtypes, token_scale = 4, "decoder", frozenset({torch.float32}), 1.0

    def __init__(self):
        super().__init__()
        self.asked = []

    def loss(self, soft_prompt, tokens):
        raise NotImplementedError

    def seen(self, soft_prompt, prompts):
        assert not torch.is_grad_enabled()
        check_images(prompts, len(soft_prompt))
        self.asked += prompts
        rows = soft_prompt.double().sum((1, 2)).split([count_images(prompt) for prompt in prompts])
        return [sum(float(image) * (place + 1) for place, image in enumerate(row)) for row in rows]

    def score(self, soft_prompt, prompts, candidates):
        rows = zip(self.seen(soft_prompt, prompts), candidates, strict=True)
        return [torch.tensor([-abs(seen - len(text)) for text in texts]) for seen, texts in rows]

    def generate(self, soft_prompt, prompts, generation):
        return [f"{seen:.4f}" for seen in self.seen(soft_prompt, prompts)]


class Deaf(Bridge):
    """A bridge that knows no text."""

    width, num_queries = 5, 4

    def forward(self, features):
        return features
