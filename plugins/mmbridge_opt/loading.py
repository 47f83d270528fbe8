"""Getting an OPT: random tensors of a published geometry, or a local transformers folder."""

import json
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import RANDOM, UserError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, GenerationConfig, OPTConfig, OPTForCausalLM

from mmbridge_opt import Architecture, OptOptions
from mmbridge_opt.geometries import GEOMETRIES


def load(options: OptOptions) -> OPTForCausalLM:
    """Give the model in the dtype of the options, frozen; on the meta device no tensor is read.

    Raises:
        UserError: the folder is not a whole OPT in safetensors.
    """
    dtype = getattr(torch, options.dtype)
    config = configuration(options)
    if options.weights == RANDOM or torch.get_default_device().type == "meta":
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    else:
        model = read(Path(options.weights), config, dtype)
    # What a folder says about beams or lengths shall not leak into anybody's settings.
    model.generation_config = GenerationConfig()
    return model.requires_grad_(False)


def configuration(options: OptOptions) -> OPTConfig:
    """Give the geometry: of the table for `random`, else of the folder's config.json."""
    if options.weights == RANDOM:
        assert options.architecture is not None  # the options have seen to it
        return OPTConfig(**GEOMETRIES[options.architecture])
    folder = Path(options.weights)
    file = folder / "config.json"
    if not file.is_file():
        raise UserError("there is no config.json.", where=folder, do="Give a transformers folder as weights.")
    kind = json.loads(file.read_text()).get("model_type")
    if kind != "opt":
        raise UserError(f"this is a '{kind}' model, not an OPT.", where=file, do="Choose the plugin that fits it.")
    config = OPTConfig.from_pretrained(folder, local_files_only=True)
    if options.architecture is not None:
        agree(config, options.architecture, file)
    return config


def agree(config: OPTConfig, architecture: Architecture, file: Path) -> None:
    """Refuse a folder of another geometry than the one that was named."""
    for key, value in GEOMETRIES[architecture].items():
        if getattr(config, key) != value:
            raise UserError(
                f"{key} is {getattr(config, key)}, but {architecture} has {value}.",
                where=file,
                do="Leave out `architecture`, or give other weights.",
            )


def read(folder: Path, config: OPTConfig, dtype: torch.dtype) -> OPTForCausalLM:
    """Read every tensor from safetensors; a tensor that is missing is an error, never a random one."""
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            "there is no .safetensors file; pickled weights (.bin) are never read.",
            where=folder,
            do="Get a revision that has safetensors, or convert it once.",
        )
    try:
        loaded: Any = OPTForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        model, found = loaded
    except (OSError, RuntimeError, ValueError, SafetensorError) as cause:
        raise UserError(f"the weights cannot be read: {cause}", where=folder, do="Fetch them again.") from cause
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"{len(missing)} tensors are missing, first {missing[0]}.", where=folder, do="Fetch it again.")
    return model
