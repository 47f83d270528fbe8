"""The model as users see it, on toy parts: rows do not influence each other, nothing is computed twice."""

from io import BytesIO

import pytest
import torch
from mmbridge_registry import Generation, UserError
from PIL import Image
from torch.testing import assert_close
from toys.answering import Deaf, Eye, Voice, Words
from toys.text_bridge import ToyBridge

from mmbridge.inference import Model
from mmbridge.model import BridgedModel

TEXTS = ["a red square", "a", "two small blue circles", "Green, green!"]


def model(batch_size=3, writes=True, voice=True):
    torch.manual_seed(5)
    bridged = BridgedModel(Eye(), Words(), Voice() if voice else None)
    if writes:
        bridged.learned.add("projection.weight")
    return Model(bridged, batch_size)


def pictures(count):
    torch.manual_seed(2)
    return [Image.fromarray(torch.randint(0, 256, (6, 6, 3), dtype=torch.uint8).numpy()) for _ in range(count)]


IMAGES = pictures(7)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_a_batch_gives_what_its_rows_give_alone(batch_size):
    whole, alone = model(batch_size), model(1)
    texts = (TEXTS * 2)[:7]
    assert_close(
        whole.match(IMAGES, texts), torch.cat([alone.match([i], [t]) for i, t in zip(IMAGES, texts, strict=True)])
    )
    assert_close(whole.embed_images(IMAGES), torch.cat([alone.embed_images([image]) for image in IMAGES]))
    assert_close(whole.embed_texts(texts), torch.cat([alone.embed_texts([text]) for text in texts]))
    assert whole.caption(IMAGES) == [alone.caption([image])[0] for image in IMAGES]
    assert whole.answer(IMAGES, texts) == [alone.answer([i], [t])[0] for i, t in zip(IMAGES, texts, strict=True)]


def test_images_come_as_picture_path_or_bytes(tmp_path):
    path, file = tmp_path / "x.png", BytesIO()
    IMAGES[0].save(path)
    IMAGES[0].save(file, "PNG")
    rows = model().embed_images([IMAGES[0], path, str(path), file.getvalue()])
    assert_close(rows, rows[:1].expand_as(rows))


def test_match_is_one_softmax_of_the_bridges_logits():
    asked = model()
    bridged = asked.bridged
    pixels = torch.stack([bridged.vision_encoder.transform(False)(image) for image in IMAGES[:4]])
    with torch.no_grad():
        logits = bridged.bridge.match(bridged.bridge.encode_image(bridged.vision_encoder(pixels)), asked.tokens(TEXTS))
    shares = logits.double().exp()
    assert_close(asked.match(IMAGES[:4], TEXTS).double(), shares[:, 1] / shares.sum(1), atol=1e-6, rtol=0)


def test_similarity_is_the_largest_cosine_over_queries():
    asked = model()
    images, texts = asked.embed_images(IMAGES).double(), asked.embed_texts(TEXTS).double()
    expected = [[max(float(query @ text) for query in image) for text in texts] for image in images]
    assert_close(
        asked.similarity(IMAGES, TEXTS).double(), torch.tensor(expected, dtype=torch.double), atol=1e-6, rtol=0
    )


def test_encoded_images_say_the_same_and_the_encoder_runs_once_per_image():
    asked = model()
    encoded = asked.encode(IMAGES)
    rows = torch.tensor([6, 0, 0, 3, 6, 1])
    texts = [TEXTS[place % 4] for place in range(6)]
    embedded, logits = encoded.embed(), encoded.match(rows, texts)
    assert asked.bridged.vision_encoder.images == len(IMAGES)
    assert_close(embedded, asked.embed_images(IMAGES))
    assert_close(logits.softmax(-1)[:, 1], asked.match([IMAGES[row] for row in rows], texts))


def test_an_images_state_is_computed_once_per_batch_of_pairs():
    asked = model(batch_size=10)
    encoded = asked.encode(IMAGES)
    asked.bridged.bridge.counts.clear()
    encoded.match(torch.tensor([2] * 5 + [4] * 5), ["a"] * 10)
    assert asked.bridged.bridge.counts["memory rows"] == 2


def test_texts_are_cleaned_as_in_training():
    asked = model()
    assert_close(asked.embed_texts(["A Red, square!"]), asked.embed_texts(["a red, square"]))
    asked.answer(IMAGES[:1], ["What (colour)?"], "Q: {} A:")
    assert asked.bridged.language_model.asked == ["Q: what colour? A:"]


def test_captions_without_a_language_model_are_the_bridges_own():
    for alone in (model(voice=False), model(writes=False)):
        written = alone.caption(IMAGES[:2], "a picture of", Generation(max_new_tokens=7))
        assert all(text.endswith(" in 7") and not text.startswith("a picture") for text in written)


def test_the_model_is_left_as_it_was():
    asked = model()
    asked.bridged.bridge.requires_grad_(True)
    asked.bridged.language_model.requires_grad_(False)
    for training in (True, False):
        asked.bridged.train(training)
        asked.match(IMAGES[:1], ["a"])
        assert asked.bridged.bridge.training is training
    assert torch.is_grad_enabled()


def test_it_answers_in_eval_mode():
    asked, modes = model(), []
    asked.bridged.requires_grad_(True).train()
    asked.bridged.bridge.register_forward_hook(lambda module, *_: modes.append(module.training))
    asked.caption(IMAGES[:1])
    assert modes == [False]


def test_no_images_give_no_rows():
    asked = model()
    assert asked.caption([]) == [] and asked.answer([], []) == []
    assert len(asked.match([], [])) == len(asked.embed_images([])) == len(asked.embed_texts([])) == 0


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: model().caption("cat.png"), "not as a list"),
        (lambda: model().caption(IMAGES[0]), "not as a list"),
        (lambda: model().match(IMAGES[:2], "ab"), "not as a list"),
        (lambda: model().match(IMAGES[:2], ["a"]), "2 images and 1 texts"),
        (lambda: model().answer(IMAGES[:1], ["a"], prompt="Question: Answer:"), "no place for the question"),
        (lambda: model().caption(["nowhere.png"]), "nowhere.png"),
        (lambda: model().caption([b"not an image"]), "cannot be read"),
        (lambda: model(voice=False).answer(IMAGES[:1], ["a"]), "no language model"),
        (lambda: model(writes=False).answer(IMAGES[:1], ["a"]), "projection"),
        (lambda: Model(BridgedModel(Eye(), Deaf())).match(IMAGES[:1], ["a"]), "no text"),
        (lambda: Model(BridgedModel(Eye(), Deaf())).caption(IMAGES[:1]), "no text"),
        (lambda: Model(BridgedModel(Eye(), ToyBridge())).caption(IMAGES[:1]), "by itself"),
    ],
)
def test_mistakes_are_named(ask, said):
    with pytest.raises(UserError, match=said):
        ask()
