"""What a config must say itself, and what it may leave to transformers' classes."""

from collections.abc import Mapping
from typing import Any

from mmbridge_registry import UserError
from packaging.version import InvalidVersion, Version

from mmbridge_blip2.hugging_face.folder import Folder

BLIP2_EPS = {"vision_config": 1e-6, "qformer_config": 1e-12, "text_config": 1e-6}
"""What BLIP-2 was trained with; transformers' classes have these defaults since version `TRUSTED`."""
TRUSTED = "4.32"
"""Before it, `Blip2VisionConfig` said 1e-5 (LAVIS#418, transformers#24854)."""
HEADS = {"vision_config": 16, "qformer_config": 12}
"""transformers' own numbers of heads; a config that was saved as the difference to its class leaves them out."""
GELU = "gelu"
"""transformers' name of the exact GELU (erf), and the default of both classes."""


def eps(folder: Folder, part: str, key: str = "layer_norm_eps") -> tuple[float, list[str]]:
    """Read an epsilon, which no tensor tells, with a note if the config leaves it out.

    Configs hold what differs from their class, and the class of the version that wrote them said BLIP-2's own epsilon,
    if it was not before `TRUSTED`.

    Raises:
        UserError: the config does not say it, and an older version or nobody knows which wrote it; it is no positive
            number.
    """
    value = folder.part(part).get(key)
    if value is None and _since(folder.config.get("transformers_version")):
        said = f"{part} does not say {key}: {BLIP2_EPS[part]}, the default of the transformers that wrote it."
        return BLIP2_EPS[part], [said]
    if value is None:
        raise UserError(
            f"{part} does not say {key}, and it is never guessed: versions of transformers before {TRUSTED} took"
            " another one.",
            where=folder.file,
            do=f'Add "{key}" to {part} in a copy of the folder; BLIP-2 was trained with {BLIP2_EPS[part]}.',
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise UserError(f"{part}.{key} is {value!r}.", where=folder.file, do="It must be a small positive number.")
    return float(value), []


def _since(written: Any) -> bool:
    """Whether a version of transformers is `TRUSTED` or newer."""
    try:
        return Version(written) >= Version(TRUSTED)
    except (InvalidVersion, TypeError):
        return False


def exact_gelu(folder: Folder, part: str) -> None:
    """Refuse an activation that no part here computes.

    Raises:
        UserError: it is not the exact GELU.
    """
    activation = folder.part(part).get("hidden_act", GELU)
    if activation != GELU:
        raise UserError(
            f"{part}.hidden_act is {activation!r}; BLIP-2's parts here compute '{GELU}' (erf) only.",
            where=folder.file,
            do="There is no way around it: the weights were trained with another activation.",
        )


def heads(folder: Folder, part: str, width: int) -> tuple[int, list[str]]:
    """Read a number of attention heads, with a note if it is the class's own.

    Raises:
        UserError: it does not divide the width.
    """
    stated = folder.part(part).get("num_attention_heads")
    count = HEADS[part] if stated is None else stated
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or width % count:
        what = f"{part}.num_attention_heads is {count!r}, which does not divide the width {width}."
        raise UserError(what, where=folder.file, do="Add the right number to the config.")
    notes = [f"{part} does not say num_attention_heads: {count}, the default of transformers' class."]
    return count, notes if stated is None else []


def count(folder: Folder, part: str, key: str) -> int | None:
    """Read a size that no tensor tells; None if the config does not say it either.

    Raises:
        UserError: it is no positive whole number.
    """
    value = (folder.part(part) if part else folder.config).get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UserError(f"{key} is {value!r}.", where=folder.file, do="It must be a positive whole number.")
    return value


def agree(folder: Folder, part: str, sizes: Mapping[str, Any]) -> None:
    """Refuse a config that says other sizes than the tensors have.

    Raises:
        UserError: names the first.
    """
    said = folder.part(part) if part else folder.config
    for key, size in sizes.items():
        if said.get(key, size) != size:
            place = f"{part}.{key}" if part else key
            raise UserError(f"{place} is {said[key]!r}, but the tensors say {size}.", where=folder.file)
