"""The conformance check of a plugin package: what is asked before anything is built."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from typing import Any, get_args

from pydantic import BaseModel

from mmbridge_registry.catalog import Catalog, Offer
from mmbridge_registry.kinds import (
    BRIDGE,
    CAPTIONER,
    DECODER,
    ENCODER_DECODER,
    GENERATES,
    KINDS,
    LANGUAGE_MODEL,
    SCORER,
    TRAITS,
)
from mmbridge_registry.options import Options
from mmbridge_registry.testing.promises import expect

HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "datasets", "numpy")
CONTEXT = {BRIDGE: ("encoder_width",), CAPTIONER: ("load", "device"), SCORER: ("load", "device")}
"""What builders take besides the options."""
_FRESH = """
import importlib, sys
from mmbridge_registry import Catalog
importlib.import_module({module!r}).offer_parts(catalog=Catalog())
print(*[name for name in {heavy!r} if name in sys.modules])
"""


def check_plugin(module: str) -> None:
    """Check a plugin's `__init__.py`: it is light, and what it offers can be listed, validated and built.

    Raises:
        AssertionError: names the promise that is broken.
    """
    _check_light(module)
    plugin = import_module(module)
    expect(
        getattr(plugin.offer_parts, "mmbridge_impl", None) is not None,
        f"{module}.offer_parts is marked with @hookimpl, or no one will call it",
    )
    catalog = Catalog()
    plugin.offer_parts(catalog=catalog)
    expect(bool(catalog.offers() or catalog.shipped_names()), f"{module} offers parts or weights")
    for offer in catalog.offers():
        _check_offer(offer)
    for name in catalog.shipped_names():
        path = catalog.shipped(name)
        expect(path is not None and path.exists(), f"shipped weights '{name}' lie inside the package, at {path}")


def _check_light(module: str) -> None:
    code = _FRESH.format(module=module, heavy=HEAVY)
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expect(fresh.returncode == 0, f"{module} can be imported and offers its parts:\n{fresh.stderr.strip()}")
    loaded = fresh.stdout.strip()
    expect(not loaded, f"{module} does not import {loaded.replace(' ', ', ')}; builders do, inside the function")


def _check_offer(offer: Offer) -> None:
    part = f"{offer.kind.title} '{offer.name}'"
    expect(offer.kind in KINDS, f"{part} is of a known kind")
    expect(re.fullmatch(r"[a-z][a-z0-9_]*", offer.name) is not None, f"{part} has a name of a-z, 0-9 and _")
    unknown = sorted((offer.provides | offer.requires) - TRAITS.keys())
    expect(not unknown, f"traits of {part} are known; {unknown} are not")
    if offer.kind is LANGUAGE_MODEL:
        kinds = offer.provides & {DECODER, ENCODER_DECODER}
        expect(
            len(kinds) == 1 and GENERATES in offer.provides,
            f"{part} provides GENERATES, and DECODER or ENCODER_DECODER",
        )
    _check_options(part, offer.options)
    expected = ["options", *CONTEXT.get(offer.kind, ())]
    found = list(inspect.signature(offer.build).parameters)
    expect(found == expected, f"the builder of {part} takes ({', '.join(expected)}), not ({', '.join(found)})")
    expect(bool(inspect.getdoc(offer.build)), f"the builder of {part} says what it builds")


def _check_options(part: str, options: Any) -> None:
    expect(isinstance(options, type) and issubclass(options, Options), f"options of {part} derive from Options")
    expect(bool(options.__doc__), f"{options.__name__} says what it sets")
    for model in _models(options):
        expect(model.model_config.get("frozen") is True, f"{model.__name__} is frozen")
        expect(model.model_config.get("extra") == "forbid", f"{model.__name__} forbids unknown keys")
        for name, field in model.model_fields.items():
            expect(bool(field.description), f"{model.__name__}.{name} is documented by the string below it")


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Give the options and every model inside their fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [model for field in annotation.model_fields.values() for model in _models(field.annotation)]
        return [annotation, *inner]
    return [model for inner in get_args(annotation) for model in _models(inner)]
