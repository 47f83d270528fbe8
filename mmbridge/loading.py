"""Load: from a run directory to a model that answers."""

from pathlib import Path

import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover

from mmbridge import checkpoint
