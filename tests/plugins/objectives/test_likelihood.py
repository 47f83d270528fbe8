"""The likelihood of captions that users and evaluations are given is the one that ITG trains, with its own weights."""

import pytest
import torch
from mmbridge_captioning import CaptionLikelihoodOptions, build_caption_likelihood
from mmbridge_objectives import GenerationOptions
from mmbridge_objectives.itg import ImageGroundedGeneration
from mmbridge_registry import Batch, Record, Tokens, UserError, VisionEncoder
from PIL import Image
from torch.testing import assert_close

from mmbridge.collectives import Collectives
from mmbridge.inference import Model
from mmbridge.model import BridgedModel
from mmbridge.step import Setting, StepOfBatch

PICTURES = [Image.new("RGB", (2, 2), (number, 0, 0)) for number in range(6)]
CAPTIONS = [str(number) for number in range(6)]


class Numbered(VisionEncoder):
    """Gives the features of image n where the picture says n; counts images."""

    width, image_size, num_tokens = 48, 2, 11

    def __init__(self, features):
        super().__init__()
        self.features, self.seen = features, 0

    def transform(self, train):
        return lambda image: torch.tensor(image.getpixel((0, 0))[0])

    def forward(self, pixels):
        self.seen += len(pixels)
        return self.features[pixels.flatten().long()]


@pytest.fixture
def model(bridge, golden):
    """The original's Q-Former, to which caption `n` is the original's caption n and picture n its image n."""

    def tokens(texts):
        rows = [int(text) for text in texts]
        longest = golden["attention_mask"][rows].sum(1).max()
        return Tokens(golden["input_ids"][rows, :longest], golden["attention_mask"][rows, :longest].bool())

    bridge.tokenizer = tokens
    bridged = BridgedModel(Numbered(golden["features"].double()), bridge, None)
    bridged.learned.update(f"bridge.{name}" for name, _ in bridge.named_parameters())
    return lambda batch_size: Model(bridged, batch_size)


def itg(asked: Model, images, captions):
    """Sum of the objective's loss, and its tokens."""
    batch = Batch(
        pixels=torch.tensor(images), image_ids=torch.tensor(images), positions=torch.arange(len(images)),
        prepared={"captions": asked.tokens(captions)},
    )  # fmt: skip
    bridged = asked.bridged
    step = StepOfBatch(
        batch, Setting(bridged.vision_encoder, bridged.bridge, None, None, Collectives(), seed=0, step_number=1)
    )
    objective = ImageGroundedGeneration(GenerationOptions(label_smoothing=0.0))
    with torch.no_grad():
        return objective(step).total.item(), objective.count(step).item()


def test_it_is_the_loss_of_itg(model):
    asked = model(4)
    found = asked.likelihood(PICTURES, CAPTIONS)
    total, tokens = itg(asked, list(range(6)), CAPTIONS)
    assert found[:, 1].sum() == tokens
    assert -found[:, 0].double().sum().item() == pytest.approx(total, rel=1e-6)
    for row in range(6):
        assert (-found[row, 0].item(), found[row, 1].item()) == pytest.approx(itg(asked, [row], [str(row)]), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_a_batch_gives_what_its_rows_give_alone_and_an_image_is_encoded_once(model, batch_size):
    asked, alone = model(batch_size), model(1)
    images, texts = [4, 0, 0, 5, 4, 1, 0], [3, 0, 1, 5, 4, 2, 1]
    pictures, captions = [PICTURES[number] for number in images], [str(number) for number in texts]
    before = asked.bridged.vision_encoder.seen
    found = asked.likelihood(pictures, captions)
    assert asked.bridged.vision_encoder.seen - before == 4
    each = [alone.likelihood([picture], [caption]) for picture, caption in zip(pictures, captions, strict=True)]
    assert_close(found, torch.cat(each), rtol=1e-6, atol=1e-6)


def test_what_cannot_be_told(model, bridge):
    assert model(2).likelihood([], []).shape == (0, 2)
    with pytest.raises(UserError, match="2 images and 1 texts"):
        model(2).likelihood(PICTURES[:2], ["0"])
    asked = model(2)
    asked.bridged.learned.clear()
    with pytest.raises(UserError, match="has not learned to write"):
        asked.likelihood(PICTURES[:1], ["0"])


def test_perplexity_of_the_evaluation(model):
    """Two captions of image 0, one of each other: own captions beside those of the image before."""
    dataset = [Record(PICTURES[n], texts=(str(n),), image_id=n, name=str(n)) for n in range(6)]
    dataset.append(Record(PICTURES[0], texts=("3",), image_id=0))
    asked = model(3)
    found = build_caption_likelihood(CaptionLikelihoodOptions()).evaluate(asked, dataset)
    metric = found.metrics["perplexity"]
    own = itg(asked, [0, 0, 1, 2, 3, 4, 5], ["0", "3", "1", "2", "3", "4", "5"])
    others = itg(asked, [1, 1, 2, 3, 4, 5, 0], ["0", "3", "1", "2", "3", "4", "5"])
    value, chance = (torch.tensor(total / tokens).exp().item() for total, tokens in (own, others))
    assert (metric.value, metric.chance) == pytest.approx((value, chance), rel=1e-6)
    assert metric.less_is_better and metric.n == 6
    assert metric.interval[0] < metric.value < metric.interval[1]
    assert [(line["image_id"], line["caption"]) for line in found.predictions[:3]] == [(0, "0"), (0, "3"), (1, "1")]
    assert sum(line["tokens"] for line in found.predictions) == own[1]
    best = min(found.predictions, key=lambda line: line["perplexity"])
    assert (found.examples[0].truth, found.examples[0].picked) == (best["caption"], "best")
