"""The model as its users see it: images and texts in, words and scores out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from mmbridge_registry import Generation, LanguageModel, TextBridge, Tokens, UserError
from PIL.Image import Image
from torch import Tensor

from mmbridge.data.images import AnyImage, open_image
from mmbridge.data.text import clean_caption, clean_question
from mmbridge.encoded import EncodedFeatures
from mmbridge.model import BridgedModel

T = TypeVar("T")

QUESTION = "Question: {} Answer:"
"""How BLIP-2 asks (section 4.1)."""
CAPTION, ANSWER = Generation(), Generation(max_new_tokens=10)


class Model:
    """A `VisionLanguage`: captions, answers, matches and embeds any number of images, `batch_size` at a time.

    Images may be bytes, paths or PIL images; only one batch of them is decoded at once. Texts are cleaned as they are
    in training (lower case, few marks). Scores come back in float32 on the CPU. The model is put in eval mode for each
    call and left as it was.
    """

    def __init__(self, bridged: BridgedModel, batch_size: int = 32) -> None:
        self.bridged = bridged
        self.batch_size = batch_size

    @property
    def writes(self) -> bool:
        """Whether the language model can be asked: it is there, and something has learned to show it images."""
        ways_in = ("projection.", "language_model.")
        return self.bridged.language_model is not None and any(
            name.startswith(ways_in) for name in self.bridged.learned
        )

    def caption(self, images: Sequence[AnyImage], prompt: str = "", generation: Generation = CAPTION) -> list[str]:
        """Write one caption per image that goes on after `prompt`.

        The language model writes, if there is one and its projection was trained; else the bridge's own decoder,
        which knows no prompts: it writes whole captions, and one that begins with the prompt loses it.

        Raises:
            UserError: there is nobody who could write, or an image cannot be read.
        """
        images = _several(images, "images")
        if self.writes:
            return self._write(images, [prompt] * len(images), generation)
        bridge = self._text_bridge
        written = self._per_batch(
            images, lambda features, _: bridge.generate_text(bridge.encode_image(features), generation)
        )
        return [text.removeprefix(prompt).strip() for text in written]

    def answer(
        self,
        images: Sequence[AnyImage],
        questions: Sequence[str],
        prompt: str = QUESTION,
        generation: Generation = ANSWER,
    ) -> list[str]:
        """Answer one question per image; `{}` in the prompt stands for the question.

        Raises:
            UserError: there is no trained language model, the prompt has no `{}`, an image cannot be read.
        """
        if "{}" not in prompt:
            raise UserError(
                "the prompt has no place for the question.", where=f"prompt '{prompt}'", do="Write {} there."
            )
        images, questions = _paired(images, _several(questions, "questions"))
        return self._write(
            images, [prompt.replace("{}", clean_question(question)) for question in questions], generation
        )

    def match(self, images: Sequence[AnyImage], texts: Sequence[str]) -> Tensor:
        """ITM probability [n] that image i and text i belong together (BLIP-2, section 3.1; softmax taken once)."""
        images, texts = _paired(images, _several(texts, "texts"))
        bridge = self._text_bridge

        def score(features: Tensor, rows: slice) -> list[Tensor]:
            tokens = self.tokens(texts[rows])
            return list(bridge.match(bridge.encode_image(features), tokens).float().softmax(-1)[:, 1].cpu())

        return _stacked(self._per_batch(images, score), (0,))

    def embed_images(self, images: Sequence[AnyImage]) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        bridge = self._text_bridge

        def embed(features: Tensor, _: slice) -> list[Tensor]:
            return list(bridge.embed_image(bridge.encode_image(features)).float().cpu())

        return _stacked(self._per_batch(_several(images, "images"), embed), (0, bridge.num_queries, 0))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised text embeddings [n,C]."""
        texts, bridge = _several(texts, "texts"), self._text_bridge
        embedded: list[Tensor] = []
        with self.answering():
            for rows in self.batches(len(texts)):
                embedded += bridge.embed_text(bridge.encode_text(self.tokens(texts[rows]))).float().cpu()
        return _stacked(embedded, (0, 0))

    def similarity(self, images: Sequence[AnyImage], texts: Sequence[str]) -> Tensor:
        """ITC score [n,m] of every image with every text: the largest cosine over queries, no temperature."""
        return torch.einsum("nqc,mc->nmq", self.embed_images(images), self.embed_texts(texts)).amax(-1)

    def encode(self, images: Sequence[AnyImage]) -> EncodedFeatures:
        """Run the vision encoder once per image and keep its features on the CPU (n x N x W numbers)."""
        images, device = _several(images, "images"), torch.device("cpu")
        features = self._per_batch(images, lambda features, _: list(features.to(device)))
        return EncodedFeatures(self, self._text_bridge, features)

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Tokens of texts as the bridge reads captions in training: cleaned, padded to the longest."""
        return self._text_bridge.tokenizer([clean_caption(text) for text in texts]).to(self.bridged.device)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Eval mode, no gradients, bfloat16 autocast on GPU; afterwards the model is in the mode it was in."""
        was_training, device = self.bridged.training, self.bridged.device
        self.bridged.eval()
        try:
            # no_grad and not inference_mode: a tensor that some part caches here may be used in training later.
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                yield
        finally:
            self.bridged.train(was_training)

    def batches(self, count: int) -> Iterator[slice]:
        """Cut `count` rows into batches."""
        return (slice(first, first + self.batch_size) for first in range(0, count, self.batch_size))

    def _write(self, images: Sequence[AnyImage], prompts: Sequence[str], generation: Generation) -> list[str]:
        language_model = self._language_model
        return self._per_batch(
            images,
            lambda features, rows: language_model.generate(
                self.bridged.soft_prompt(features), prompts[rows], generation
            ),
        )

    def _per_batch(self, images: Sequence[AnyImage], ask: Callable[[Tensor, slice], list[T]]) -> list[T]:
        """Encode batch after batch, and ask something of each batch's features and rows."""
        results: list[T] = []
        with self.answering():
            for rows in self.batches(len(images)):
                pixels = torch.stack([self._transform(open_image(image)) for image in images[rows]])
                results += ask(self.bridged.vision_encoder(pixels.to(self.bridged.device)), rows)
        return results

    @cached_property
    def _transform(self):
        return self.bridged.vision_encoder.transform(train=False)

    @property
    def _text_bridge(self) -> TextBridge:
        bridge = self.bridged.bridge
        if not isinstance(bridge, TextBridge):
            raise UserError(
                f"this model's bridge ({type(bridge).__name__}) reads and writes no text.",
                do="Use a text bridge such as `qformer`.",
            )
        return bridge

    @property
    def _language_model(self) -> LanguageModel:
        if self.bridged.language_model is None:
            raise UserError("this model has no language model.", do="Choose a run whose config names one.")
        if not self.writes:
            raise UserError(
                "its projection is not trained yet, so the language model cannot see the image.",
                do="Choose a later stage, one that has `projection` under `train`.",
            )
        return self.bridged.language_model


def _several(items: Sequence[T], what: str) -> Sequence[T]:
    """Refuse one item where a list is meant: a lone path would be read letter by letter."""
    if isinstance(items, str | bytes | Path | Image):
        raise UserError(f"{what} are given as one {type(items).__name__}, not as a list.", do="Write [...] around it.")
    return items


def _paired(images: Sequence[AnyImage], texts: Sequence[str]) -> tuple[Sequence[AnyImage], Sequence[str]]:
    images = _several(images, "images")
    if len(images) != len(texts):
        raise UserError(f"there are {len(images)} images and {len(texts)} texts.", do="Give one text per image.")
    return images, texts


def _stacked(rows: list[Tensor], empty: tuple[int, ...]) -> Tensor:
    return torch.stack(rows) if rows else torch.empty(empty)
