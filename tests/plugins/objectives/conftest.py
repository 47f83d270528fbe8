"""Stage 1 of the original implementation: its weights in our Q-Former, its inputs, what it made of them."""

from pathlib import Path

import pytest
import torch
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_qformer.lavis_names import state_from_lavis
from mmbridge_registry import Batch, Tokens, VisionEncoder
from safetensors.torch import load_file
from torch import nn

from mmbridge.collectives import Collectives
from mmbridge.step import Setting, StepOfBatch

GOLDENS = Path(__file__).parents[2] / "goldens"

torch.set_num_threads(1)


class GivenFeatures(VisionEncoder):
    """An encoder whose output is its only parameter."""

    width, image_size, num_tokens = 48, 1, 11

    def __init__(self, features):
        super().__init__()
        self.features = nn.Parameter(features)

    def transform(self, train):
        raise NotImplementedError

    def forward(self, pixels):
        return self.features


@pytest.fixture
def mean():
    """Give an objective's mean loss and metrics on a step that is the global batch."""

    def mean(objective, step):
        result, count = objective(step), objective.count(step)
        return result.total / count, {name: metric / count for name, metric in result.metrics.items()}

    return mean


@pytest.fixture(scope="session")
def golden():
    """One training step of stage 1."""
    return load_file(GOLDENS / "stage1_io.safetensors")


@pytest.fixture(scope="session")
def gradients():
    """Gradients of the sum of the three losses, by kind of gather."""
    files = {"exact": "stage1_grads_f64_fullgrad", "nograd": "stage1_grads_f64"}
    return {gather: load_file(GOLDENS / f"{name}.safetensors") for gather, name in files.items()}


@pytest.fixture
def bridge():
    """The original's Q-Former in float64."""
    options = QFormerOptions(
        vocabulary=200,
        max_text_length=16,
        queries=8,
        layers=4,
        width=64,
        heads=4,
        intermediate=128,
        positions=64,
        contrastive_width=32,
        dropout=0.0,
    )
    bridge = build_qformer(options, encoder_width=48)
    bridge.load_state_dict(state_from_lavis(load_file(GOLDENS / "stage1_state.safetensors")), strict=True)
    return bridge.double()


@pytest.fixture
def step_of(bridge, golden):
    """Give a step on the original's batch, with image ids or without."""

    def step(image_ids=None):
        batch = Batch(
            pixels=torch.zeros(6, 3, 1, 1),
            image_ids=torch.arange(6) if image_ids is None else image_ids,
            positions=torch.arange(6),
            prepared={"captions": Tokens(golden["input_ids"], golden["attention_mask"].bool())},
        )
        encoder = GivenFeatures(golden["features"].double())
        return StepOfBatch(batch, Setting(encoder, bridge, None, None, Collectives(), seed=0, step_number=1))

    return step
