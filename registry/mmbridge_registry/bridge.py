"""The contract of bridges: from an encoder's features to queries, with or without text."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn

from mmbridge_registry.blocks import stacked
from mmbridge_registry.errors import UserError
from mmbridge_registry.options import Generation
from mmbridge_registry.published import Published
from mmbridge_registry.tokens import TextTokenizer, Tokens

Pass = Literal["image", "contrast", "match", "decode"]
"""What an objective asks of a bridge: `image` = query outputs only (all that a language model needs), `contrast` =
image and text embeddings and the temperature, `match` = the two-class head, `decode` = text written from the image."""


class Bridge(nn.Module, ABC):
    """Features [B,N,W] to queries [B,Q,D]; the part that is trained."""

    width: int
    """Width D of the queries."""
    num_queries: int
    """Number Q of queries."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Turn features [B,N,W] into queries [B,Q,D]."""

    def parameters_for(self, passes: frozenset[Pass]) -> Iterator[tuple[str, nn.Parameter]]:
        """Give the parameters that a loss over `passes` reaches: what a stage trains.

        The rest is frozen for the stage but stays in the checkpoint. DDP demands that this be exact: a parameter that
        is trained but not reached stops the second step.
        """
        del passes
        return self.named_parameters()

    def blocks(self) -> list[nn.Module]:
        """Give modules, each called as one, whose insides a backward pass may compute again instead of keeping."""
        return stacked(self)

    def published(self) -> Published | None:
        """Give this bridge under the names that published checkpoints use; None if there are none."""
        return None

    def attention(self, features: Tensor) -> Tensor | None:
        """Tell where queries look in features [B,N,W]: weights [L,B,Q,N] of each layer that looks, averaged over heads.

        The weights of a query add up to 1. Only reports ask for them. None from a bridge that has no such weights.
        """
        del features
        return None


class ImageState(ABC):
    """Images as a text bridge sees them: the query outputs, and whatever its other passes can reuse."""

    @property
    @abstractmethod
    def queries(self) -> Tensor:
        """Query outputs [B,Q,D] of the image pass; computed when first asked for."""

    @abstractmethod
    def select(self, index: Tensor) -> "ImageState":
        """Pick (and repeat) images by row, without computing anything anew."""


class TextBridge(Bridge):
    """A bridge that also reads and writes text: the Q-Former (BLIP-2, section 3.1)."""

    tokenizer: TextTokenizer
    """Turns captions into tokens ([CLS] first, [SEP] last); runs in loader workers."""

    @property
    @abstractmethod
    def temperature(self) -> Tensor:
        """Scalar that divides cosine similarities."""

    @abstractmethod
    def encode_image(self, features: Tensor) -> ImageState:
        """Image pass: queries see queries and the image. features [B,N,W]."""

    @abstractmethod
    def encode_text(self, tokens: Tokens) -> Tensor:
        """Text pass: text sees text in both directions; hidden states [B,T,D]."""

    @abstractmethod
    def decode_text(self, image: ImageState, tokens: Tokens) -> Tensor:
        """Decoder pass: text sees all queries and its own past; hidden states [B,T,D].

        Position 0 is read as the start-of-decoding token whatever id stands there.
        """

    @abstractmethod
    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """Score the vocabulary at the given hidden states [...,D] -> [...,V]."""

    @abstractmethod
    def match(self, image: ImageState, tokens: Tokens) -> Tensor:
        """Match pass: everything sees everything; logits [B,2], the mean over queries (class 1 = a match)."""

    @abstractmethod
    def embed_image(self, image: ImageState) -> Tensor:
        """L2-normalised query embeddings [B,Q,C]."""

    @abstractmethod
    def embed_text(self, hidden: Tensor) -> Tensor:
        """L2-normalised text embedding [B,C] from the text pass's hidden states [B,T,D]."""

    def generate_text(self, image: ImageState, generation: Generation) -> list[str]:
        """Write one text per image by the bridge alone, without a language model; not every text bridge can.

        Raises:
            UserError: this bridge cannot, or not with these settings.
        """
        del image, generation
        raise UserError(
            f"{type(self).__name__} writes no text by itself.", do="Add a language model, or use a bridge that writes."
        )
