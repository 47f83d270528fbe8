"""One piece of YAML, a file or the value of an override: plain values, and the line of every key."""

import re
from collections.abc import Callable
from typing import Any

import yaml
from mmbridge_registry import UserError
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmbridge.config.places import KeyPath, Problems

MAX_NODES = 10_000
"""More nodes than that are an alias bomb, not a config."""

PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")
}
# YAML 1.1 reads 010 as 8 and 12:30 as 750.
MISREAD = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def parse(text: str, place: Callable[[int], str], problems: Problems, at: KeyPath = ()) -> Any:
    """Read YAML and note in `problems` where its keys stand; `place` turns a line (from 1) into words.

    Raises:
        UserError: it is not YAML, or is nested without end.
        ConfigError: tags, duplicate keys, keys that are no text, numbers that YAML reads as others.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _Walk(place, problems).visit(root, at)
        problems.stop_if_any()
        # OmegaConf's reading of scalars (1e-4 is a number), not PyYAML's.
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index,call-overload]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"not valid YAML: {error.problem or error.context}.", where=place(line)) from None
    except RecursionError:
        raise UserError("nested too deeply.", where=place(1)) from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"not valid YAML: {str(error).splitlines()[0]}.", where=place(1)) from None


class _Walk:
    """Visits composed nodes, which still know their lines."""

    def __init__(self, place: Callable[[int], str], problems: Problems) -> None:
        self.place, self.problems, self.nodes = place, problems, 0

    def visit(self, node: yaml.Node, path: KeyPath) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise UserError(f"more than {MAX_NODES:,} values.", where=self.place(1), do="Are aliases (*) multiplying?")
        self.problems.places.setdefault(path, self.place(node.start_mark.line + 1))
        if node.tag not in PLAIN_TAGS:
            self.problems.add(path, f"YAML tags are refused ({node.tag}).", do="Write a plain value.")
        elif isinstance(node, yaml.MappingNode):
            self.visit_mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, str(index)))
        elif isinstance(node, yaml.ScalarNode) and node.style is None and MISREAD.fullmatch(node.value):
            self.problems.add(path, f"YAML reads {node.value} as another number.", do="Quote it, or write it decimal.")

    def visit_mapping(self, node: yaml.MappingNode, path: KeyPath) -> None:
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                here = key.value if isinstance(key, yaml.ScalarNode) else "?"
                self.problems.places[(*path, here)] = self.place(line)
                self.problems.add((*path, here), "keys must be text.", do="Quote the key (or use `base:` for `<<`).")
                continue
            inner = (*path, key.value)
            self.problems.places[inner] = self.place(line)
            if key.value in first:
                self.problems.add(inner, f"this key stands twice; first in line {first[key.value]}.")
            first.setdefault(key.value, line)
            self.visit(value, inner)
