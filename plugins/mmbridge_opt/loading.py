"""Getting an OPT: random tensors of a published geometry, or a local transformers folder."""

from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import RANDOM, UserError
from mmbridge_registry.transformers_folder import ATTENTION, check_weights, one_line, read_config
from transformers import AutoModelForCausalLM, GenerationConfig, OPTConfig, OPTForCausalLM

from mmbridge_opt import Architecture, OptOptions
from mmbridge_opt.geometries import GEOMETRIES


def load(options: OptOptions) -> OPTForCausalLM:
    """Give the model in the dtype of the options, frozen; on the meta device no tensor is read.

    Raises:
        UserError: the folder is not a whole OPT in safetensors.
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


def configuration(options: OptOptions) -> OPTConfig:
    """Give the geometry: of the table for `random`, else of the folder's config.json."""
    if options.weights == RANDOM:
        assert options.architecture is not None  # the options have seen to it
        return OPTConfig(**GEOMETRIES[options.architecture])
    folder = Path(options.weights)
    read_config(folder, "opt", "an OPT")
    config = OPTConfig.from_pretrained(folder, local_files_only=True)
    if options.architecture is not None:
        agree(config, options.architecture, folder / "config.json")
    return config


def agree(config: OPTConfig, architecture: Architecture, file: Path) -> None:
    """Refuse a folder of another geometry than the one that was named; its table may have spare rows."""
    for key, value in GEOMETRIES[architecture].items():
        found = getattr(config, key)
        if found != value and not (key == "vocab_size" and found > value):
            raise UserError(
                f"{key} is {found}, but {architecture} has {value}.",
                where=file,
                do="Leave out `architecture`, or give other weights.",
            )


def fresh(config: OPTConfig, dtype: torch.dtype) -> OPTForCausalLM:
    """Build with random tensors."""
    return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=ATTENTION)


def read(folder: Path, config: OPTConfig, dtype: torch.dtype) -> OPTForCausalLM:
    """Read every tensor from safetensors; a tensor that is missing is an error, never a random one."""
    check_weights(folder)
    loaded: Any = OPTForCausalLM.from_pretrained(
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
