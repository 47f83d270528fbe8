"""A model as transformers' BLIP-2 can hold it: what is written, and by which class it is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmbridge_registry import Assembled, Published, UserError
from torch import Tensor, nn
from transformers import __version__ as transformers_version

from mmbridge_blip2.hugging_face.bridge import q_former, qformer_config
from mmbridge_blip2.hugging_face.folder import MODEL_TYPE
from mmbridge_blip2.hugging_face.names import BRIDGE, PROJECTION, to_hf
from mmbridge_blip2.hugging_face.speech import Speech, language_tensors, speech_of, text_config
from mmbridge_blip2.hugging_face.vision import encoder_tensors, eva, vision_config
from mmbridge_blip2.lavis.bridge import BridgeSizes, image_branch
from mmbridge_blip2.lavis.encoder import EncoderSizes


@dataclass(frozen=True)
class Target:
    """The parts of a model that fit, by the names of their libraries."""

    encoder: Published
    encoder_sizes: EncoderSizes
    bridge: Published
    bridge_sizes: BridgeSizes
    projection: Mapping[str, Tensor]
    speech: Speech | None
    """How it writes; None for the class that only compares images with texts."""

    @property
    def title(self) -> str:
        """The class that reads it."""
        return "Blip2ForConditionalGeneration" if self.speech else "Blip2ForImageTextRetrieval"

    @property
    def bridge_tokenizer(self) -> Path:
        """Folder of the Q-Former's tokenizer.

        Raises:
            UserError: it has none.
        """
        if self.bridge.tokenizer is None:
            do = "Name its folder: model.bridge.tokenizer."
            raise UserError("the Q-Former has no tokenizer.", where="bridge", do=do)
        return self.bridge.tokenizer

    @cached_property
    def leaving(self) -> list[tuple[str, tuple[Tensor, ...], Tensor]]:
        """What is written: transformers' name, the model's own tensors that it is made of, and the tensor."""
        return [*self._leaving()]

    def _leaving(self) -> Iterator[tuple[str, tuple[Tensor, ...], Tensor]]:
        for there, names, tensor in encoder_tensors(self.encoder):
            yield there, tuple(self.encoder.tensors[name] for name in names), tensor
        placed = image_branch(self.bridge_sizes) if self.speech else self.bridge.tensors
        for name, tensor in self.bridge.tensors.items():
            if name in placed and (there := to_hf(name, BRIDGE)):
                yield there, (tensor,), tensor.detach()
        if self.speech is not None:
            for name, tensor in self.projection.items():
                yield f"{PROJECTION}.{name}", (tensor,), tensor.detach()
            for there, name, tensor in language_tensors(self.speech):
                yield there, (self.speech.published.tensors[name],), tensor

    def config(self) -> dict[str, Any]:
        """Give config.json, with everything said that a class would otherwise make up."""
        sizes = self.bridge.config
        config: dict[str, Any] = {
            "architectures": [self.title],
            "model_type": MODEL_TYPE,
            "num_query_tokens": sizes["queries"],
            "image_text_hidden_size": sizes["contrastive_width"],
            "dtype": "float32",
            "vision_config": vision_config(self.encoder, self.encoder_sizes),
            "qformer_config": qformer_config(self.bridge, reads_text=self.speech is None),
            "transformers_version": transformers_version,
        }
        if self.speech is not None:
            config["image_token_index"] = self.speech.image
            config["text_config"] = text_config(self.speech)
        return config


def target_of(model: Assembled) -> Target:
    """Sort a model's parts; one whose projection no stage has trained does not write.

    Raises:
        UserError: encoder, bridge or language model have no place in transformers' BLIP-2.
    """
    encoder, encoder_sizes = eva(model.vision_encoder)
    bridge, bridge_sizes = q_former(model)
    speech, projection = None, {}
    if model.language_model is not None and "projection.weight" in model.learned:
        speech = speech_of(model.language_model.published())
        projection = _linear(model.projection, speech)
    return Target(encoder, encoder_sizes, bridge, bridge_sizes, projection, speech)


def _linear(projection: nn.Module | None, speech: Speech) -> dict[str, Tensor]:
    """Give weight and bias of the projection."""
    tensors: dict[str, Tensor] = dict(projection.named_parameters()) if type(projection) is nn.Linear else {}
    if tensors.keys() != {"weight", "bias"}:
        raise UserError(
            f"transformers' BLIP-2 projects by one linear layer with a bias, and this is a {projection}.",
            where="projection",
            do="Export to another format.",
        )
    width = speech.published.config.get("hidden_size") or speech.published.config.get("d_model")
    if len(tensors["weight"]) != width:
        raise UserError(
            f"this language model reads tokens of width {len(tensors['weight'])} and computes in {width};"
            " transformers' BLIP-2 can only project to the latter.",
            where="language_model",
            do="All of OPT but opt-350m fit.",
        )
    return tensors
