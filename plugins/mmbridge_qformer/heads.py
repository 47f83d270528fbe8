"""What reads the outputs: contrastive embeddings with their temperature, and the scores of the vocabulary."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbridge_qformer.geometry import Geometry


class ContrastHead(nn.Module):
    """Projections of queries and text into one space, and the temperature of their cosines."""

    def __init__(self, geometry: Geometry, temperature: float) -> None:
        super().__init__()
        self.image = nn.Linear(geometry.width, geometry.contrastive_width)
        self.text = nn.Linear(geometry.width, geometry.contrastive_width)
        # The raw scalar, as in the original: no logarithm, no clamp, no inverse.
        self.temperature = nn.Parameter(torch.tensor(temperature))


class VocabularyHead(nn.Module):
    """BERT's masked-word head; its last matrix is the word table itself."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.dense = nn.Linear(geometry.width, geometry.width)
        self.norm = nn.LayerNorm(geometry.width, geometry.norm_eps)
        self.bias = nn.Parameter(torch.zeros(geometry.vocabulary))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Score the words [V,D] at hidden states [...,D]: logits [...,V]."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), words, self.bias)
