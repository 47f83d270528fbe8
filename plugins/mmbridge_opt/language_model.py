"""OPT behind a soft prompt: loss, generation, ranking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import RANDOM, Generation, LanguageModel, LanguageTokens, Published, TokenLoss, Tokens, UserError
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
            embeddings, mask = self._join(soft_prompt, tokens.inputs)
            states = self.lm.model(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).last_hidden_state
            predicting = states[:, soft_prompt.shape[1] - 1 : -1]  # the last query predicts the first token
            losses = token_losses(predicting, tokens.labels, self.lm.lm_head)
        return TokenLoss(losses.sum(), torch.tensor(len(losses), device=losses.device))

    @torch.no_grad()
    def generate(self, soft_prompt: Tensor, prompts: Sequence[str], generation: Generation) -> list[str]:
        """Continue every prompt until a newline; prompts may differ in length and are never cut.

        Raises:
            UserError: queries, prompt and answer are longer than the table of positions.
        """
        tokens = self.text.prompts(prompts).to(self.lm.device)
        self._check_length(soft_prompt.shape[1] + tokens.ids.shape[1] + generation.max_new_tokens)
        with self._own_dtype():
            embeddings, mask = self._join(soft_prompt, tokens)
            ids = self.lm.generate(
                inputs_embeds=embeddings, attention_mask=mask, generation_config=self._settings(generation)
            )
        return self.text.decode(ids)

    @torch.no_grad()
    def score(self, soft_prompt: Tensor, prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Tensor]:
        """Log-likelihood of every candidate: minus the summed `loss` of (prompt, candidate), but nothing is cut.

        The soft prompt is read once per row; the row's candidates share its keys and values.
        """
        flat = [(row, prompts[row], text) for row, texts in enumerate(candidates) for text in texts]
        scores = torch.zeros(len(flat), device=self.lm.device)
        with self._own_dtype():
            image = self.lm.model(inputs_embeds=self._cast(soft_prompt), use_cache=True)
            for first in range(0, len(flat), CANDIDATES):
                some = slice(first, first + CANDIDATES)
                rows, asked, texts = zip(*flat[some], strict=True)
                index = torch.tensor(rows, device=scores.device)
                scores[some] = self._likelihoods(image, index, self.text.pairs(asked, texts).to(scores.device))
        return list(scores.split([len(texts) for texts in candidates]))

    def _likelihoods(self, image: Any, index: Tensor, tokens: LanguageTokens) -> Tensor:
        """Log-likelihood [n] of texts, each after row `index` [n] of the soft prompts that were read."""
        last = image.last_hidden_state[index, -1:]
        cache = DynamicCache([(layer.keys[index], layer.values[index]) for layer in image.past_key_values.layers])
        queries = cache.get_seq_length()
        self._check_length(queries + tokens.inputs.ids.shape[1])
        states = self.lm.model(
            inputs_embeds=self.lm.get_input_embeddings()(tokens.inputs.ids),
            attention_mask=F.pad(tokens.inputs.mask.long(), (queries, 0), value=1),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return row_likelihoods(torch.cat([last, states[:, :-1]], 1), tokens.labels, self.lm.lm_head)

    def _join(self, soft_prompt: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Put soft prompts before texts: embeddings [B,Q+T,E] and mask [B,Q+T] int64."""
        text = self.lm.get_input_embeddings()(tokens.ids)
        mask = F.pad(tokens.mask.long(), (soft_prompt.shape[1], 0), value=1)
        return torch.cat([self._cast(soft_prompt), text], 1), mask

    def _cast(self, soft_prompt: Tensor) -> Tensor:
        return soft_prompt.to(self.lm.device, self.lm.dtype)

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
        )

    def _check_length(self, length: int) -> None:
        limit = self.lm.config.max_position_embeddings
        if length > limit:
            raise UserError(
                f"queries and text may take {length} positions, this OPT has {limit}.",
                do="Shorten the text, or lower max_new_tokens.",
            )

    def published(self) -> Published:
        """Give it as transformers saves it, tied tensors once."""
        tokenizer = None if self.text.source == RANDOM else Path(self.text.source)
        return Published(TRANSFORMERS, self.lm.config.to_dict(), dict(self.lm.named_parameters()), tokenizer)
