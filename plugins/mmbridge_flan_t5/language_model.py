"""FlanT5 behind a soft prompt: loss, generation, ranking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import RANDOM, Generation, LanguageModel, LanguageTokens, Published, TokenLoss
from mmbridge_registry.prompts import check_images, embed
from mmbridge_registry.published import TRANSFORMERS
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from mmbridge_flan_t5 import FlanT5Options
from mmbridge_flan_t5.likelihood import row_likelihoods, token_losses
from mmbridge_flan_t5.loading import load
from mmbridge_flan_t5.tokenizer import FlanT5Tokenizer

CANDIDATES = 128
"""Candidates that are scored in one pass."""


class FlanT5(LanguageModel):
    """A frozen T5 (arXiv 2210.11416) whose encoder reads [soft prompt][prefix `</s>`] (BLIP-2, section 3.2).

    In eval mode while frozen, and in its own dtype whatever autocast says. The decoder starts from the pad token and
    ends with `</s>`.
    """

    kind = "encoder_decoder"
    safe_dtypes = frozenset({torch.float32, torch.bfloat16})

    def __init__(self, options: FlanT5Options) -> None:
        super().__init__()
        self.lm: Any = load(options)  # the types of transformers know too little of generate
        self.eval()
        self.width = self.lm.get_input_embeddings().embedding_dim
        self.tokenizer = self.text = FlanT5Tokenizer(
            options.tokenizer or options.weights, self.lm.config.vocab_size, options.max_text_length
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
        with self._own_dtype():
            text = self.lm.get_input_embeddings()(tokens.inputs.ids)
            embeddings = torch.cat([soft_prompt.to(text.device, text.dtype), text], 1)
            mask = F.pad(tokens.inputs.mask.long(), (soft_prompt.shape[1], 0), value=1)
            states = self._write(self._read(embeddings, mask), mask, tokens.labels)
            losses = token_losses(states, tokens.labels, self.lm.lm_head)
        return TokenLoss(losses.sum(), torch.tensor(len(losses), device=losses.device))

    @torch.no_grad()
    def generate(self, soft_prompt: Tensor, prompts: Sequence[str], generation: Generation) -> list[str]:
        """Answer every prompt until `</s>`; prompts may differ in length and images, and are never cut.

        The encoder reads [text][image][text]... and `</s>`.

        Raises:
            UserError: images and placeholders do not agree in number.
        """
        with self._own_dtype():
            states, mask = self._read_prompts(soft_prompt, prompts)
            ids = self.lm.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask,
                generation_config=self._settings(generation),
            )
        return self.text.decode(ids)

    @torch.no_grad()
    def score(self, soft_prompt: Tensor, prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Tensor]:
        """Log-likelihood of every candidate: minus the summed `loss` of (prompt, candidate), but nothing is cut.

        The encoder reads images and prompt once per row, for all candidates of the row.

        Raises:
            UserError: as `generate`.
        """
        flat = [(row, text) for row, texts in enumerate(candidates) for text in texts]
        scores = torch.zeros(len(flat), device=self.lm.device)
        with self._own_dtype():
            states, mask = self._read_prompts(soft_prompt, prompts)
            for first in range(0, len(flat), CANDIDATES):
                some = slice(first, first + CANDIDATES)
                rows, texts = zip(*flat[some], strict=True)
                index = torch.tensor(rows, device=scores.device)
                labels = self.text.labels(texts).to(scores.device)
                written = self._write(states[index], mask[index], labels)
                scores[some] = row_likelihoods(written, labels, self.lm.lm_head)
        return list(scores.split([len(texts) for texts in candidates]))

    def _read_prompts(self, soft_prompt: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode prompts with their images: states [B,T,E] and mask [B,T] int64."""
        check_images(prompts, len(soft_prompt))
        tokens = self.text.prompts(prompts, soft_prompt.shape[1]).to(self.lm.device)
        mask = tokens.mask.long()
        return self._read(embed(tokens.ids, soft_prompt, self.lm.get_input_embeddings()), mask), mask

    def _read(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        return self.lm.get_encoder()(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state

    def _write(self, encoded: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Give the decoder's states [B,T',E], each of which predicts the label at its place."""
        states = self.lm.get_decoder()(
            input_ids=self.lm.prepare_decoder_input_ids_from_labels(labels),
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        # The first T5 shares its two tables and scales between them; v1.1, which FlanT5 is, does not.
        return states * self.width**-0.5 if self.lm.config.scale_decoder_outputs else states

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
            decoder_start_token_id=ids.pad,
            eos_token_id=ids.end,
            pad_token_id=ids.pad,
            suppress_tokens=list(ids.silent) or None,
        )

    def published(self) -> Published:
        """Give it as transformers saves it, with the activation that is in force."""
        tokenizer = None if self.text.source == RANDOM else Path(self.text.source)
        return Published(TRANSFORMERS, self.lm.config.to_dict(), dict(self.lm.named_parameters()), tokenizer)
