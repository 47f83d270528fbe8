"""OPT behind a soft prompt: loss, generation, ranking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import RANDOM, Generation, LanguageModel, LanguageTokens, Published, TokenLoss, UserError
from mmbridge_registry.prompts import check_images, embed
from mmbridge_registry.published import TRANSFORMERS
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, GenerationConfig

from mmbridge_opt import OptOptions
from mmbridge_opt.likelihood import row_likelihoods, token_losses
from mmbridge_opt.loading import load
from mmbridge_opt.tokenizer import OptTokenizer

CANDIDATES = 128
"""Candidates that are scored in one pass."""


class Opt(LanguageModel):
    """A frozen OPT (arXiv 2205.01068) that reads [soft prompt][`</s>`][text] (BLIP-2, section 3.2).

    In eval mode while frozen, and in its own dtype whatever autocast says. Text ends with a newline. Without a prompt
    the opening `</s>` is a target as well, predicted from the last query, as the published bridges were trained.
    """

    kind = "decoder"
    safe_dtypes = frozenset({torch.float32, torch.bfloat16, torch.float16})

    def __init__(self, options: OptOptions) -> None:
        super().__init__()
        self.lm: Any = load(options)  # the types of transformers know too little of generate and caches
        self.eval()
        self.width = self.lm.get_input_embeddings().embedding_dim
        self.tokenizer = self.text = OptTokenizer(
            options.tokenizer or options.weights,
            self.lm.config.vocab_size,
            options.max_text_length,
            options.keep_newline,
        )

    @property
    def token_scale(self) -> float:
        """Root mean square of the token embeddings; 1 on the meta device, where there are no numbers."""
        table = self.lm.get_input_embeddings().weight
        if table.is_meta:
            return 1.0
        return float(torch.linalg.vector_norm(table, dtype=torch.float32)) / table.numel() ** 0.5

    def loss(self, soft_prompt: Tensor, tokens: LanguageTokens) -> TokenLoss:
        """Sum the cross-entropy of the targets, float32; gradient flows to the soft prompt [B,Q,E] only."""
        tokens = tokens.to(self.lm.device)
        self._check_length(soft_prompt.shape[1] + tokens.inputs.ids.shape[1])
        with self._own_dtype():
            text = self.lm.get_input_embeddings()(tokens.inputs.ids)
            states = self.lm.model(
                inputs_embeds=torch.cat([soft_prompt.to(text.device, text.dtype), text], 1),
                attention_mask=F.pad(tokens.inputs.mask.long(), (soft_prompt.shape[1], 0), value=1),
                use_cache=False,
            ).last_hidden_state
            predicting = states[:, soft_prompt.shape[1] - 1 : -1]  # the last query predicts the first token
            losses = token_losses(predicting, tokens.labels, self.lm.lm_head)
        return TokenLoss(losses.sum(), torch.tensor(len(losses), device=losses.device))

    @torch.no_grad()
    def generate(self, soft_prompt: Tensor, prompts: Sequence[str], generation: Generation) -> list[str]:
        """Continue every prompt until a newline; prompts may differ in length and images, and are never cut.

        A row is [image][`</s>`][text][image][text]...: `</s>` stands once, before the first text.

        Raises:
            UserError: images and placeholders do not agree; a row is longer than the table of positions.
        """
        check_images(prompts, len(soft_prompt))
        tokens = self.text.prompts(prompts, soft_prompt.shape[1])
        self._check_length(longest(tokens.mask) + generation.max_new_tokens)
        tokens = tokens.to(self.lm.device)
        with self._own_dtype():
            ids = self.lm.generate(
                inputs_embeds=embed(tokens.ids, soft_prompt, self.lm.get_input_embeddings()),
                attention_mask=tokens.mask.long(),
                generation_config=self._settings(generation),
            )
        return self.text.decode(ids)

    @torch.no_grad()
    def score(self, soft_prompt: Tensor, prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Tensor]:
        """Log-likelihood of every candidate: minus the summed `loss` of (prompt, candidate), but nothing is cut.

        A row is read once up to its last image; the row's candidates share its keys and values.

        Raises:
            UserError: as `generate`.
        """
        check_images(prompts, len(soft_prompt))
        opening = self.text.openings(prompts, soft_prompt.shape[1])
        self._check_length(longest(opening.mask))
        flat = [(row, prompts[row], text) for row, texts in enumerate(candidates) for text in texts]
        scores = torch.zeros(len(flat), device=self.lm.device)
        with self._own_dtype():
            read = self.lm.model(
                inputs_embeds=embed(opening.ids.to(scores.device), soft_prompt, self.lm.get_input_embeddings()),
                attention_mask=opening.mask.long().to(scores.device),
                use_cache=True,
            )
            for first in range(0, len(flat), CANDIDATES):
                some = slice(first, first + CANDIDATES)
                rows, asked, texts = zip(*flat[some], strict=True)
                index, endings = torch.tensor(rows), self.text.endings(asked, texts)
                mask = torch.cat([opening.mask[index], endings.inputs.mask], 1)
                self._check_length(longest(mask))
                whole = (index.to(scores.device), mask.to(scores.device), endings.to(scores.device))
                scores[some] = self._likelihoods(read, *whole)
        return list(scores.split([len(texts) for texts in candidates]))

    def _likelihoods(self, read: Any, index: Tensor, mask: Tensor, tokens: LanguageTokens) -> Tensor:
        """Log-likelihood [n] of texts, each after row `index` [n] of what was read; `mask` [n,P+T] is of both."""
        cache = DynamicCache([(layer.keys[index], layer.values[index]) for layer in read.past_key_values.layers])
        opened = mask[:, : cache.get_seq_length()].sum(1)
        last = read.last_hidden_state[index, opened - 1][:, None]
        states = self.lm.model(
            inputs_embeds=self.lm.get_input_embeddings()(tokens.inputs.ids),
            attention_mask=mask.long(),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return row_likelihoods(torch.cat([last, states[:, :-1]], 1), tokens.labels, self.lm.lm_head)

    def _own_dtype(self) -> torch.autocast:
        return torch.autocast(self.lm.device.type, enabled=False)

    def _settings(self, generation: Generation) -> GenerationConfig:
        ids = self.text.vocabulary
        drawn = {"top_p": generation.top_p, "top_k": 0, "temperature": generation.temperature}
        return GenerationConfig(
            max_new_tokens=generation.max_new_tokens,
            min_new_tokens=generation.min_new_tokens,
            num_beams=generation.beams,
            length_penalty=generation.length_penalty,
            repetition_penalty=generation.repetition_penalty,
            do_sample=generation.sample,
            **(drawn if generation.sample else {}),
            bos_token_id=ids.bos,
            eos_token_id=ids.newline,
            pad_token_id=ids.pad,
            suppress_tokens=list(ids.silent) or None,
        )

    def _check_length(self, length: int) -> None:
        limit = self.lm.config.max_position_embeddings
        if length > limit:
            raise UserError(
                f"images and text take {length} positions, this OPT has {limit}.",
                do="Shorten the text, show fewer images, or lower max_new_tokens.",
            )

    def published(self) -> Published:
        """Give it as transformers saves it, tied tensors once."""
        tokenizer = None if self.text.source == RANDOM else Path(self.text.source)
        return Published(TRANSFORMERS, self.lm.config.to_dict(), dict(self.lm.named_parameters()), tokenizer)


def longest(mask: Tensor) -> int:
    """Give the number of tokens of the longest row; pads take no position."""
    return int(mask.sum(1).max())
