"""Interpolation: `${stages.generation.steps}` stands for another key's value, and for nothing else."""

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmbridge.config.document import MAX_NODES
from mmbridge.config.places import KeyPath, Problems

REFERENCE = re.compile(r"\$\{[\w.-]+\}")
MAX_DEPTH = 20


def resolve(values: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """Replace references by what they refer to.

    Resolvers are refused, all of them: `${oc.env:TOKEN}` would put a secret into files that people publish.

    Raises:
        ConfigError: references that lead nowhere, in circles or out of the config.
    """
    _refuse_resolvers(values, (), problems)
    problems.stop_if_any()
    plain = _Resolving(problems).plain(OmegaConf.create(values), ())
    problems.stop_if_any()
    return plain


def _refuse_resolvers(value: Any, path: KeyPath, problems: Problems) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_resolvers(inner, (*path, key), problems)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_resolvers(inner, (*path, str(index)), problems)
    elif isinstance(value, str) and "${" in REFERENCE.sub("", value):
        problems.add(path, f"{value!r} is refused.", do="Only another key can be referred to: ${stages.x.steps}.")
    elif value == "???":
        problems.add(path, "this value must be given (???).")


class _Resolving:
    def __init__(self, problems: Problems) -> None:
        self.problems, self.nodes = problems, 0

    def plain(self, node: Any, path: KeyPath) -> Any:
        self.nodes += 1
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            self.problems.add(path[:MAX_DEPTH], "references go in circles, or multiply without end.")
            self.problems.stop_if_any()
        if isinstance(node, DictConfig):
            return {key: self.item(node, key, (*path, str(key))) for key in node}
        if isinstance(node, ListConfig):
            return [self.item(node, index, (*path, str(index))) for index in range(len(node))]
        return node

    def item(self, node: Any, key: Any, path: KeyPath) -> Any:
        try:
            inner = node[key]
        except (OmegaConfBaseException, RecursionError) as error:
            first = (str(error).splitlines() or ["a reference to itself"])[0]
            self.problems.add(path, f"cannot resolve {OmegaConf.to_container(node)[key]!r}: {first}.")  # type: ignore[index,call-overload]
            return None
        return self.plain(inner, path)
