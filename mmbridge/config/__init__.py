"""Reading configs: YAML and overrides in, a checked `Recipe` out. Torch-free."""

from mmbridge.config.cards import is_card, load_card
from mmbridge.config.places import ConfigError
from mmbridge.config.reading import load_by_card, load_recipe
from mmbridge.config.resolved import as_yaml
from mmbridge.config.shipped import find_card, find_config, shipped_cards, shipped_configs, shipped_pipelines
from mmbridge.config.values import base_of, read_yaml

__all__ = [
    "ConfigError",
    "as_yaml",
    "base_of",
    "find_card",
    "find_config",
    "is_card",
    "load_by_card",
    "load_card",
    "load_recipe",
    "read_yaml",
    "shipped_cards",
    "shipped_configs",
    "shipped_pipelines",
]
