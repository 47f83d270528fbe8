"""Comparing: images and texts as scores and embeddings (BLIP-2, section 3.1)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from mmbridge_registry import ImageState, Matched, TextBridge, Tokens, UserError
from torch import Tensor
from torch.nn import functional as F

from mmbridge.data.text import clean_caption
from mmbridge.inference.encoded import EncodedFeatures, joined, matched
from mmbridge.inference.interleaved import identity
from mmbridge.inference.learned import temperature_of, text_bridge_in_step, text_bridge_of
from mmbridge.inference.listing import Images, Picture, listed, several
from mmbridge.inference.reading import Reading


class Found(NamedTuple):
    """An image that was found for a text."""

    image: Picture
    """The image as it was given; its path, if a folder was."""
    place: int
    """Its place among the images that were searched."""
    cosine: float
    """ITC score: the largest cosine over queries."""


class Comparing(Reading):
    """What a model does in numbers."""

    @property
    def temperature(self) -> float:
        """The temperature that was learned: a cosine divided by it is a logit of ITC.

        Raises:
            UserError: none was learned, or the format that the model comes from did not keep it.
        """
        return temperature_of(self.bridged)

    def match(self, images: Images, texts: Iterable[str]) -> Matched:
        """Compare image i with text i: ITM probabilities `itm` [n] and ITC cosines `itc` [n].

        ITM: the softmax, taken once, of the logits that are the mean over queries. ITC: the largest cosine over
        queries, without temperature.
        """
        images, texts = _paired(images, texts)
        bridge = text_bridge_in_step(self.bridged, "match", "contrast")
        return joined(
            self.ask(
                images,
                lambda features, rows: [matched(bridge, bridge.encode_image(features), self.tokens(texts[rows]))],
            )
        )

    def likelihood(self, images: Images, texts: Iterable[str]) -> Tensor:
        """How likely the bridge's own decoder finds caption i of image i, as ITG counts it: [n,2].

        The natural log of its probability, summed over its tokens and its end, and how many tokens those are. An image
        that stands in several rows is encoded once.

        Raises:
            UserError: there are more or fewer texts than images, or the bridge has not learned to write.
        """
        images, texts = _paired(images, texts)
        bridge = text_bridge_in_step(self.bridged, "decode")
        keys = [identity(image) for image in images]
        distinct = dict(zip(keys, images, strict=True))
        place_of = {key: place for place, key in enumerate(distinct)}
        owners, found = torch.tensor([place_of[key] for key in keys]), torch.empty(len(texts), 2)

        def ask(features: Tensor, places: slice) -> list[None]:
            state = bridge.encode_image(features)
            for rows in torch.nonzero((owners >= places.start) & (owners < places.stop))[:, 0].split(self.batch_size):
                own = state.select((owners[rows] - places.start).to(self.bridged.device))
                tokens = self.tokens([texts[int(row)] for row in rows])
                found[rows] = _likelihood(bridge, own, tokens).cpu()
            return []

        self.ask(list(distinct.values()), ask)
        return found

    def embed_images(self, images: Images) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        bridge = text_bridge_in_step(self.bridged, "contrast")
        embedded = self.ask(listed(images), lambda features, _: [_queries(bridge, features)])
        return torch.cat(embedded) if embedded else torch.empty(0, bridge.num_queries, 0)

    def embed_texts(self, texts: Iterable[str]) -> Tensor:
        """L2-normalised text embeddings [n,C]."""
        texts, bridge = several(texts, "texts"), text_bridge_in_step(self.bridged, "contrast")
        with self.answering():
            embedded = [
                bridge.embed_text(bridge.encode_text(self.tokens(texts[rows]))).float().cpu()
                for rows in self.batches(len(texts))
            ]
        return torch.cat(embedded) if embedded else torch.empty(0, 0)

    def similarity(self, images: Images, texts: Iterable[str]) -> Tensor:
        """ITC score [n,m] of every image with every text: the largest cosine over queries, no temperature."""
        bridge, words = text_bridge_in_step(self.bridged, "contrast"), self.embed_texts(texts)
        scores = self.ask(
            listed(images),
            lambda features, _: [(_queries(bridge, features)[:, None] @ words[None, ..., None]).amax((2, 3))],
        )
        return torch.cat(scores) if scores else torch.empty(0, len(words))

    def retrieve(self, texts: Iterable[str], images: Images, top: int = 10) -> list[list[Found]]:
        """Find the images that each text fits best, best first, at most `top`; equal ones in the order given."""
        images = listed(images)
        cosines, places = self.similarity(images, texts).sort(dim=0, descending=True, stable=True)
        columns = zip(places[:top].T.tolist(), cosines[:top].T.tolist(), strict=True)
        return [[Found(images[i], i, cosine) for i, cosine in zip(*column, strict=True)] for column in columns]

    def encode(self, images: Images) -> EncodedFeatures:
        """Run the vision encoder once per image and keep its features on the CPU (n x N x W numbers)."""
        device = torch.device("cpu")
        return EncodedFeatures(self, self.ask(listed(images), lambda features, _: list(features.to(device))))

    def tokens(self, texts: Iterable[str]) -> Tokens:
        """Tokens of texts as the bridge reads captions in training: cleaned, padded to the longest."""
        cleaned = [clean_caption(text) for text in texts]
        return text_bridge_of(self.bridged).tokenizer(cleaned).to(self.bridged.device)


def _paired(images: Images, texts: Iterable[str]) -> tuple[Sequence[Picture], Sequence[str]]:
    images, texts = listed(images), several(texts, "texts")
    if len(images) != len(texts):
        raise UserError(f"there are {len(images)} images and {len(texts)} texts.", do="Give one text per image.")
    return images, texts


def _likelihood(bridge: TextBridge, image: ImageState, tokens: Tokens) -> Tensor:
    scored = tokens.mask[:, 1:].bool()
    logits = bridge.vocabulary_logits(bridge.decode_text(image, tokens)[:, :-1][scored]).float()
    found = torch.zeros(scored.shape, device=scored.device)
    found[scored] = -F.cross_entropy(logits, tokens.ids[:, 1:][scored], reduction="none")
    return torch.stack([found.sum(1), scored.sum(1)], 1)


def _queries(bridge: TextBridge, features: Tensor) -> Tensor:
    return bridge.embed_image(bridge.encode_image(features)).float().cpu()
