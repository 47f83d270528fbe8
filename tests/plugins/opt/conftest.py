"""The tiny OPT and its soft prompts."""

from pathlib import Path

import pytest
import torch
from mmbridge_opt import OptOptions, build_opt
from mmbridge_opt.language_model import Opt
from toys.tiny_opt import write_opt

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the tiny OPT."""
    return write_opt(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def opt(folder: Path) -> Opt:
    """Give the tiny OPT as the plugin builds it."""
    return build_opt(OptOptions(weights=str(folder)))


@pytest.fixture
def soft_prompt() -> torch.Tensor:
    """Give soft prompts [4,3,32]."""
    return torch.randn(4, 3, 32, generator=torch.Generator().manual_seed(1))
