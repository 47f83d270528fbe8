"""The Q-Former: learned queries that read an image, and a BERT that reads and writes text beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import cast

import torch
from mmbridge_registry import Generation, ImageState, Published, TextBridge, Tokens
from mmbridge_registry.bridge import Pass
from mmbridge_registry.published import LAVIS
from torch import Tensor, nn
from torch.nn import functional as F

from mmbridge_qformer.attention import Attention
from mmbridge_qformer.captioning import write
from mmbridge_qformer.embeddings import Embeddings
from mmbridge_qformer.geometry import Geometry
from mmbridge_qformer.heads import ContrastHead, VocabularyHead
from mmbridge_qformer.image_state import QFormerImages
from mmbridge_qformer.lavis_names import to_lavis
from mmbridge_qformer.layer import FeedForward, QFormerLayer
from mmbridge_qformer.looking import looking
from mmbridge_qformer.masks import visibility
from mmbridge_qformer.passes import image_pass, look_at, match_pass, text_pass
from mmbridge_qformer.reach import reaches
from mmbridge_qformer.tokenizer import QFormerTokenizer


class QFormer(TextBridge):
    """BLIP-2's bridge (arXiv 2301.12597, section 3.1); all weights are new until something is loaded into them."""

    def __init__(
        self, geometry: Geometry, tokenizer: QFormerTokenizer, temperature: float = 0.07, init_std: float = 0.02
    ) -> None:
        super().__init__()
        self.geometry = geometry
        # Narrower than the contract's, and never assigned again.
        self.tokenizer: QFormerTokenizer = tokenizer  # pyright: ignore[reportIncompatibleVariableOverride]
        self.width, self.num_queries = geometry.width, geometry.queries
        self.image_norm = nn.LayerNorm(geometry.encoder_width, geometry.image_norm_eps)
        self.queries = nn.Parameter(torch.empty(1, geometry.queries, geometry.width))
        self.embeddings = Embeddings(geometry)
        looks = [number % geometry.cross_attention_every == 0 for number in range(geometry.layers)]
        self.layers = cast(Sequence[QFormerLayer], nn.ModuleList(QFormerLayer(geometry, look) for look in looks))
        self.vocabulary = VocabularyHead(geometry)
        self._start_like_bert(init_std)
        # Made after that on purpose: these two keep torch's own initialisation, as in the original.
        self.contrast = ContrastHead(geometry, temperature)
        self.match_head = nn.Linear(geometry.width, 2)

    def _start_like_bert(self, std: float) -> None:
        nn.init.normal_(self.queries, std=std)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @property
    def temperature(self) -> Tensor:
        return self.contrast.temperature

    def forward(self, features: Tensor) -> Tensor:
        """Turn features [B,N,W] into queries [B,Q,D]: the image pass alone, all that a language model needs."""
        return self.encode_image(features).queries

    def attention(self, features: Tensor) -> Tensor:
        """Weights [L,B,Q,N] with which queries look at features [B,N,W] in the layers that do, averaged over heads."""
        return looking(self.layers, lambda: self(features))

    def encode_image(self, features: Tensor) -> QFormerImages:
        normed = self.image_norm(self._full(features))
        memory = cache(lambda: look_at(self.layers, normed))
        reading = cache(lambda: image_pass(self.layers, self._query_rows(len(normed)), memory()))
        return QFormerImages(len(normed), queries=lambda: reading()[0], past=lambda: reading()[1], memory=memory)

    def _full(self, tensor: Tensor) -> Tensor:
        """Cast to the precision of the weights: frozen towers and autocast give less, norms and means want it."""
        return tensor.to(self.queries.dtype)

    def _query_rows(self, count: int) -> Tensor:
        return self.embeddings.queries(self.queries, count)

    def encode_text(self, tokens: Tokens) -> Tensor:
        visible = visibility("contrast", 0, tokens.mask)
        return text_pass(self.layers, self.embeddings.text(tokens.ids), visible)[0]

    def decode_text(self, image: ImageState, tokens: Tokens) -> Tensor:
        ids = tokens.ids.clone()
        ids[:, 0] = self.geometry.start
        visible = visibility("decode", self.num_queries, tokens.mask)[:, self.num_queries :]
        return text_pass(self.layers, self.embeddings.text(ids), visible, _own(image).past)[0]

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        return self.vocabulary(hidden, self.embeddings.words.weight)

    def match(self, image: ImageState, tokens: Tokens) -> Tensor:
        return self._full(self.match_head(self.fuse(image, tokens))).mean(dim=1)

    def fuse(self, image: ImageState, tokens: Tokens) -> Tensor:
        """Match pass without its head: query outputs [B,Q,D] that have seen image and text."""
        visible = visibility("match", self.num_queries, tokens.mask)
        text = self.embeddings.text(tokens.ids)
        return match_pass(self.layers, self._query_rows(len(tokens)), text, _own(image).memory, visible)

    def embed_image(self, image: ImageState) -> Tensor:
        return F.normalize(self._full(self.contrast.image(image.queries)), dim=-1)

    def embed_text(self, hidden: Tensor) -> Tensor:
        return F.normalize(self._full(self.contrast.text(hidden[:, 0])), dim=-1)

    @torch.no_grad()
    def generate_text(self, image: ImageState, generation: Generation) -> list[str]:
        """Write one caption per image by the Q-Former itself.

        Raises:
            UserError: the settings ask for more tokens than there are positions, or for sampled beams.
        """
        return self.tokenizer.decode(write(self, _own(image), generation))

    def parameters_for(self, passes: frozenset[Pass]) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in self.named_parameters():
            if reaches(name, passes, self.geometry):
                yield name, parameter

    def blocks(self) -> list[nn.Module]:
        """Give attentions and feed-forward networks: what the passes call, with keys and values made in between."""
        return [module for module in self.modules() if isinstance(module, Attention | FeedForward)]

    def published(self) -> Published:
        """Give it under the names of LAVIS' checkpoints, with the sizes that are needed to build it again."""
        tensors = {to_lavis(name): parameter for name, parameter in self.named_parameters()}
        return Published(LAVIS, asdict(self.geometry), tensors, self.tokenizer.folder)


def _own(image: ImageState) -> QFormerImages:
    if not isinstance(image, QFormerImages):
        raise TypeError(f"this image state is a {type(image).__name__}, made by another bridge")
    return image
