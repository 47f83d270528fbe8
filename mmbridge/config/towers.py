"""Can towers be trained, quantised and sharded as a recipe says? Answered before torch is imported."""

from collections.abc import Mapping

from mmbridge.config.places import Problems
from mmbridge.quantizing import is_installed
from mmbridge.recipe import ModelRecipe, Run, Stage

HARM = {"float16": "in which training diverges", "bfloat16": "in which small updates are rounded away"}


def check_towers(model: ModelRecipe, stages: Mapping[str, Stage], run: Run | None, problems: Problems) -> None:
    """Note in `problems` what cannot be; a tower that some stage trains must hold whole, plain float32 numbers."""
    quantized = {key: bits for key, bits in model.quantize if bits is not None}
    for key in quantized:
        if getattr(model, key) is None:
            problems.add(("model", "quantize", key), f"the model has no {key} to quantize.")
    if quantized and not is_installed():
        do = "pip install 'mmbridge[quantize]', or leave out model.quantize."
        problems.add(("model", "quantize"), "torchao is not installed, which stores weights in eight bits.", do)
    for name, stage in stages.items():
        for key in (key for key in dict.fromkeys(stage.train) if key in type(model.quantize).model_fields):
            if getattr(model, key) is not None:
                _check_trained(key, name, model, run, problems)
    if run is not None and run.placement == "shard":
        for key, bits in quantized.items():
            what = f"the {key} is stored in {bits}, which cannot be cut up."
            problems.add(("run", "placement"), what, f"Choose one of the two: ~model.quantize.{key}, or replicate.")


def _check_trained(key: str, stage: str, model: ModelRecipe, run: Run | None, problems: Problems) -> None:
    path = ("stages", stage, "train")
    dtype = getattr(getattr(model, key).options, "dtype", None)
    if getattr(model.quantize, key) is not None:
        what = f"this stage trains the {key}, whose weights model.quantize makes coarse."
        problems.add(path, what, f"Leave one of them out: ~model.quantize.{key}, or {key} in `train`.")
    elif dtype in HARM:
        what = f"{key} is stored in {dtype}, {HARM[dtype]}."
        problems.add(path, what, f"Set model.{key}.dtype=float32, or do not train it.")
    if run is not None and run.placement == "shard":
        what = f"stage '{stage}' trains the {key}, and only what all stages leave frozen can be sharded."
        do = "Say auto, which shards the other tower if it must; or do not train it."
        problems.add(("run", "placement"), what, do)
