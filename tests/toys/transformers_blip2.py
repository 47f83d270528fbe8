"""transformers' own BLIP-2, tiny and random, around a given language model: what ours is compared with."""

import torch
from torch import Tensor
from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedModel

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
QFORMER = {**VISION, "encoder_hidden_size": 16, "vocab_size": 32}


class Reference:
    """Blip2ForConditionalGeneration that is given images and tokens, with the soft prompts it makes of the images."""

    def __init__(self, language_model: PreTrainedModel, batch: int, queries: int = 3) -> None:
        torch.manual_seed(0)
        self.queries, self.placeholder = queries, language_model.config.vocab_size - 1
        text = language_model.config.to_dict()
        config = Blip2Config(
            vision_config={**VISION, "image_size": 28, "patch_size": 14, "initializer_range": 0.5},
            qformer_config=QFORMER,
            text_config=text,
            num_query_tokens=queries,
            image_token_index=self.placeholder,
        )
        self.model = Blip2ForConditionalGeneration(config).eval()
        self.model.language_model = language_model
        with torch.no_grad():
            self.model.query_tokens.normal_()
            self.model.language_projection.weight.normal_()
        self.pixels = torch.randn(batch, 3, 28, 28)
        seen: list[Tensor] = []
        hook = self.model.language_projection.register_forward_hook(lambda _, __, out: seen.append(out))
        ids = torch.full((batch, queries), self.placeholder)
        with torch.no_grad():
            self.model(self.pixels, ids, attention_mask=torch.ones_like(ids), decoder_input_ids=ids)
        hook.remove()
        self.soft_prompt = seen[0].detach()

    def placed(self, ids: Tensor, fill: int | None = None) -> Tensor:
        """Put a placeholder for every query (or `fill`) before rows of tokens."""
        front = torch.full((len(ids), self.queries), self.placeholder if fill is None else fill)
        return torch.cat([front, ids], 1)
