"""Reading configs: YAML and overrides in, a checked `Recipe` out. Torch-free."""

from mmbridge.config.places import ConfigError
from mmbridge.config.reading import base_of, load_recipe, read_yaml
from mmbridge.config.resolved import as_yaml
from mmbridge.config.shipped import find_config, shipped_configs, shipped_pipelines

__all__ = [
    "ConfigError",
    "as_yaml",
    "base_of",
    "find_config",
    "load_recipe",
    "read_yaml",
    "shipped_configs",
    "shipped_pipelines",
]
