"""Getting a FlanT5: random tensors of a published geometry, or a local transformers folder."""

from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import RANDOM, UserError
from mmbridge_registry.transformers_folder import ATTENTION, check_weights, one_line, read_config
from torch import nn
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, T5Config, T5ForConditionalGeneration

from mmbridge_flan_t5 import Architecture, FlanT5Options
from mmbridge_flan_t5.geometries import GEOMETRIES


def load(options: FlanT5Options) -> T5ForConditionalGeneration:
    """Give the model in the dtype of the options, frozen; on the meta device no tensor is read.

    Raises:
        UserError: the folder is not a whole T5 in safetensors.
    """
    dtype = getattr(torch, options.dtype)
    if options.weights == RANDOM:
        model = fresh(configuration(options), dtype)
    else:
        with one_line("the weights cannot be read", Path(options.weights), "Fetch them again."):
            config = configuration(options)
            meta = torch.get_default_device().type == "meta"
            model = fresh(config, dtype) if meta else read(Path(options.weights), config, dtype)
    # What a folder says about beams or lengths shall not leak into anybody's settings.
    model.generation_config = GenerationConfig()
    return model.requires_grad_(False)


def configuration(options: FlanT5Options) -> T5Config:
    """Give geometry and activation: of the table for `random`, else of the folder's config.json."""
    if options.weights == RANDOM:
        assert options.architecture is not None  # the options have seen to it
        config = T5Config(**{**GEOMETRIES[options.architecture], "tie_word_embeddings": False})
    else:
        config = stored_configuration(Path(options.weights), options.architecture)
    published = any(agrees(config, geometry) for geometry in GEOMETRIES.values())
    if options.activation == "gelu" or (options.activation == "auto" and published):
        config.dense_act_fn = "gelu"
    config.decoder_start_token_id = config.pad_token_id
    return config


def stored_configuration(folder: Path, architecture: Architecture | None) -> T5Config:
    """Read config.json; refuse another kind of model, and another geometry than the one that was named."""
    read_config(folder, "t5", "a T5")
    config = T5Config.from_pretrained(folder, local_files_only=True)
    if architecture is not None and not agrees(config, GEOMETRIES[architecture]):
        raise UserError(
            f"this is not the geometry of {architecture}.",
            where=folder / "config.json",
            do="Leave out `architecture`, or give other weights.",
        )
    return config


def agrees(config: T5Config, geometry: dict[str, Any]) -> bool:
    """Say whether a configuration has this geometry."""
    return all(getattr(config, key) == value for key, value in geometry.items())


def fresh(config: T5Config, dtype: torch.dtype) -> T5ForConditionalGeneration:
    """Build with random tensors; FlanT5's output table is its own, which transformers ties unless a file says else."""
    model = AutoModelForSeq2SeqLM.from_config(config, dtype=dtype, attn_implementation=ATTENTION)
    if not config.scale_decoder_outputs:
        table = model.get_input_embeddings().weight
        model.lm_head.weight = nn.Parameter(torch.empty_like(table).normal_(std=config.d_model**-0.5))
    return model


def read(folder: Path, config: T5Config, dtype: torch.dtype) -> T5ForConditionalGeneration:
    """Read every tensor from safetensors; a tensor that is missing is an error, never a random one."""
    check_weights(folder)
    loaded: Any = T5ForConditionalGeneration.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        attn_implementation=ATTENTION,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"{len(missing)} tensors are missing, first {missing[0]}.", where=folder, do="Fetch it again.")
    return model
