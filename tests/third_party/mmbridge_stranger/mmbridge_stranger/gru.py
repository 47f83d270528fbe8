"""A recurrent language model behind a soft prompt."""

from collections.abc import Sequence

import torch
from mmbridge_registry import Generation, LanguageModel, LanguageTokens, TokenLoss, UserError
from mmbridge_registry.language_model import IGNORED
from mmbridge_registry.prompts import check_images, count_images, embed, texts_around, with_slots
from torch import Tensor, nn
from torch.nn import functional as F

from mmbridge_stranger import GruOptions
from mmbridge_stranger.characters import END, GAP, SIZE, CharacterTokenizer, decode, encode


class GruLanguageModel(LanguageModel):
    """Reads [soft prompt][prompt][gap] and writes characters until the end."""

    kind = "decoder"
    safe_dtypes = frozenset({torch.float32})

    def __init__(self, options: GruOptions) -> None:
        super().__init__()
        self.width = options.width
        self.tokenizer = CharacterTokenizer()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.embedding = nn.Embedding(SIZE, options.width)
            self.gru = nn.GRU(options.width, options.width, batch_first=True)
            self.head = nn.Linear(options.width, SIZE)
        self.eval()

    @property
    def token_scale(self) -> float:
        """Root mean square of the token embeddings."""
        table = self.embedding.weight
        return 1.0 if table.is_meta else float(table.detach().square().mean().sqrt())

    def loss(self, soft_prompt: Tensor, tokens: LanguageTokens) -> TokenLoss:
        """Sum the cross-entropy of the targets; padding stands on the right, where no state that counts sees it."""
        inputs = torch.cat([soft_prompt.to(self.embedding.weight.dtype), self.embedding(tokens.inputs.ids)], 1)
        states = self.gru(inputs)[0][:, soft_prompt.shape[1] - 1 : -1]
        scored = tokens.labels != IGNORED
        logits = self.head(states[scored]).float()
        return TokenLoss(F.cross_entropy(logits, tokens.labels[scored], reduction="sum"), scored.sum())

    @torch.no_grad()
    def generate(self, soft_prompt: Tensor, prompts: Sequence[str], generation: Generation) -> list[str]:
        """Write row by row, with a beam.

        Raises:
            UserError: asked to sample; images and placeholders do not agree in number.
        """
        if generation.sample:
            raise UserError("stranger_gru does not sample.", do="Set sample: false.")
        return [self._write(given, generation) for given in self._read(soft_prompt, prompts)]

    @torch.no_grad()
    def score(self, soft_prompt: Tensor, prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Tensor]:
        """Log-likelihood of every candidate: minus its loss."""
        return [
            torch.stack([self._likelihood(given, text) for text in texts])
            for given, texts in zip(self._read(soft_prompt, prompts), candidates, strict=True)
        ]

    def _read(self, soft_prompt: Tensor, prompts: Sequence[str]) -> list[Tensor]:
        """Embed [text][image][text]...[gap] of every prompt, [P,E] each."""
        check_images(prompts, len(soft_prompt))
        rows = [
            [*with_slots([encode(text) for text in texts_around(prompt)], soft_prompt.shape[1]), GAP]
            for prompt in prompts
        ]
        images = soft_prompt.split([count_images(prompt) for prompt in prompts])
        return [embed(torch.tensor(ids), shown, self.embedding) for ids, shown in zip(rows, images, strict=True)]

    def _likelihood(self, given: Tensor, text: str) -> Tensor:
        ids = torch.tensor([*encode(text), END])
        states = self.gru(torch.cat([given, self.embedding(ids)]))[0][len(given) - 1 : -1]
        return -F.cross_entropy(self.head(states), ids, reduction="sum")

    def _write(self, given: Tensor, generation: Generation) -> str:
        states = self.gru(given)[1]
        beam: list[tuple[float, list[int], Tensor]] = [(0.0, [], states)]
        for step in range(generation.max_new_tokens):
            grown = []
            for total, ids, state in beam:
                if ids[-1:] == [END]:
                    grown.append((total, ids, state))
                    continue
                odds = self.head(state[0]).log_softmax(-1)
                if step < generation.min_new_tokens:
                    odds[END] = -torch.inf
                best = odds.topk(generation.beams)
                for gain, token in zip(best.values.tolist(), best.indices, strict=True):
                    after = self.gru(self.embedding(token)[None], state)[1]
                    grown.append((total + gain, [*ids, int(token)], after))
            beam = sorted(grown, key=lambda one: one[0] / len(one[1]) ** generation.length_penalty, reverse=True)
            beam = beam[: generation.beams]
        return decode(beam[0][1])
