"""The tiny T5 and its soft prompts."""

from pathlib import Path

import pytest
import torch
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5
from mmbridge_flan_t5.language_model import FlanT5
from toys.tiny_t5 import write_t5

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the tiny T5."""
    return write_t5(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def t5(folder: Path) -> FlanT5:
    """Give the tiny T5 as the plugin builds it."""
    return build_flan_t5(FlanT5Options(weights=str(folder)))


@pytest.fixture
def soft_prompt() -> torch.Tensor:
    """Give soft prompts [4,3,32]."""
    return torch.randn(4, 3, 32, generator=torch.Generator().manual_seed(1))
