"""The captioner of the BLIP-2 paper: BLIP, whose captions are drawn from a nucleus."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmbridge_registry import RANDOM, Captioner, UserError
from mmbridge_registry.transformers_folder import check_weights, one_line, read_config
from PIL.Image import Image
from torchvision.transforms import v2
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

from mmbridge_capfilt import BlipOptions

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, which BLIP was trained with."""
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
"""BLIP-large's image half; its text half is BERT-base's."""


class Blip(Captioner):
    """transformers' BLIP with its own tokenizer."""

    def __init__(self, options: BlipOptions, device: str) -> None:
        self.options, self.device = options, device
        dtype = getattr(torch, options.dtype)
        words = options.tokenizer or options.weights
        if options.weights == RANDOM:
            if options.tokenizer is None:
                raise UserError("random weights come without a tokenizer.", do="Say tokenizer: a BERT's folder.")
            config = BlipConfig(vision_config=LARGE | {"image_size": 384}, text_config={"encoder_hidden_size": 1024})
            self.model = BlipForConditionalGeneration(config).to(dtype)
        else:
            folder = Path(options.weights)
            read_config(folder, "blip", "a BLIP")
            check_weights(folder)
            with one_line("this BLIP cannot be read", folder, "Fetch it again."):
                self.model = BlipForConditionalGeneration.from_pretrained(
                    folder, dtype=dtype, local_files_only=True, use_safetensors=True, attn_implementation="eager"
                )
        self.model.eval().to(device)  # pyright: ignore[reportArgumentType]
        with one_line("its tokenizer cannot be read", Path(words), "Fetch it again."):
            self.tokenizer = BertTokenizer.from_pretrained(words, local_files_only=True)
        side = int(self.model.vision_model.config.image_size)  # pyright: ignore[reportArgumentType]
        resize = v2.Resize((side, side), interpolation=v2.InterpolationMode.BICUBIC)
        self.transform = v2.Compose(
            [resize, v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        )

    @torch.no_grad()
    def caption(self, images: Sequence[Image], count: int, seed: int) -> list[list[str]]:
        """Draw captions of each image; the prompt is cut off."""
        options, generation = self.options, self.options.generation
        pixels = torch.stack([self.transform(image) for image in images]).to(self.device, self.model.dtype)
        ids = self.tokenizer(options.prompt, return_tensors="pt").input_ids.repeat(len(images), 1).to(self.device)
        prompt = ids.shape[1] - 1  # the end mark goes
        with torch.random.fork_rng(devices=[pixels.device] if pixels.is_cuda else []):
            torch.manual_seed(seed)
            written = self.model.generate(
                pixel_values=pixels,
                input_ids=ids,
                num_return_sequences=count,
                do_sample=generation.sample,
                num_beams=generation.beams,
                top_p=generation.top_p if generation.sample else None,
                temperature=generation.temperature if generation.sample else None,
                repetition_penalty=generation.repetition_penalty,
                min_length=prompt + generation.min_new_tokens,
                max_length=prompt + generation.max_new_tokens,
            )
        texts = self.tokenizer.batch_decode(written[:, prompt:], skip_special_tokens=True)
        return [texts[first : first + count] for first in range(0, len(texts), count)]
