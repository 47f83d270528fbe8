"""Captions, answers and scores of real parts: a batch gives what its rows give alone, and the numbers are right."""

import pytest
import torch
from mmbridge_registry import Generation
from torch.testing import assert_close
from toys.tiny_run import photographs, tiny_model

from mmbridge.inference import Model

CONFIGS = ["blip2_tiny_opt", "blip2_tiny"]
IMAGES = photographs(5)
PROMPTS = ["", "a picture of", "there is a small", "a", "the picture shows one red square above"]
QUESTIONS = ["what color is the square?", "how many?", "is there a red circle left of the blue one?", "what?", "where?"]
COLOURS = ["red", "blue", "dark green", "a small yellow triangle"]


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_model(request.param, batch_size=8)


@pytest.fixture
def alone(model: Model) -> Model:
    return Model(model.bridged, batch_size=1)


def varied(texts: list[str]) -> list[str]:
    assert len(set(texts)) > 1, "the test could not see rows change places"
    return texts


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_of_a_batch(model: Model, alone: Model, beams: int) -> None:
    generation = Generation(beams=beams, max_new_tokens=8)
    together = varied(model.caption(IMAGES, PROMPTS, generation))
    pairs = list(zip(IMAGES, PROMPTS, strict=True))
    assert together == [alone.caption([image], prompt, generation)[0] for image, prompt in pairs]
    assert together == Model(model.bridged, 3).caption(IMAGES, PROMPTS, generation)


def test_answers_of_a_batch(model: Model, alone: Model) -> None:
    together = varied(model.answer(IMAGES, QUESTIONS))
    assert together == [alone.answer([image], asked)[0] for image, asked in zip(IMAGES, QUESTIONS, strict=True)]
    assert model.answer(IMAGES, QUESTIONS[0]) == model.answer(IMAGES, [QUESTIONS[0]] * 5)


def test_prompts_with_several_images(model: Model, alone: Model) -> None:
    prompts = ["<image> <image> a", "a picture of", "red <image> Question: what? Answer:", "<image> is <image> not"]
    rows = [[IMAGES[0], IMAGES[1]], [IMAGES[2]], [IMAGES[0]], [IMAGES[1], IMAGES[4]]]
    together = varied(model.complete(rows, prompts))
    assert together == [alone.complete([row], [prompt])[0] for row, prompt in zip(rows, prompts, strict=True)]
    assert model.answer(rows[0], prompt=prompts[0], generation=Generation()) == together[:1]
    assert model.complete([[image] for image in IMAGES], PROMPTS) == model.caption(IMAGES, PROMPTS)


def test_rank_is_the_likelihood_of_each_candidate(model: Model, alone: Model) -> None:
    ranked = model.rank(IMAGES, QUESTIONS, COLOURS)
    expected = []
    bridged = model.bridged
    assert bridged.language_model is not None
    for image, question in zip(IMAGES, QUESTIONS, strict=True):
        pixels = bridged.vision_encoder.transform(False)(image.convert("RGB"))[None]
        with torch.no_grad():
            shown = bridged.soft_prompt(bridged.vision_encoder(pixels))
            prompt = f"Question: {question} Answer:"
            losses = [
                bridged.language_model.loss(shown, bridged.language_model.tokenizer([prompt], [colour])).total
                for colour in COLOURS
            ]
        expected.append([-float(loss) for loss in losses])
    assert_close(torch.tensor(ranked), torch.tensor(expected), atol=1e-3, rtol=1e-4)
    chosen = [COLOURS[int(torch.tensor(row).argmax())] for row in expected]
    assert model.answer(IMAGES, QUESTIONS, candidates=COLOURS) == chosen
    each = [COLOURS[: 1 + place % 4] for place in range(5)]
    ragged = model.rank(IMAGES, QUESTIONS, each)
    assert [len(row) for row in ragged] == [1, 2, 3, 4, 1]
    for row, whole in zip(ragged, ranked, strict=True):
        assert row == pytest.approx(whole[: len(row)], abs=1e-3)
    assert alone.rank(IMAGES[:1], QUESTIONS[:1], COLOURS)[0] == pytest.approx(ranked[0], abs=1e-3)


def test_sampling_is_reproducible(model: Model) -> None:
    generation = Generation(sample=True, top_p=1.0, temperature=1.5, max_new_tokens=12)

    def drawn(seed: int) -> list[str]:
        torch.manual_seed(seed)
        return model.caption(IMAGES, "a", generation)

    assert drawn(1) == drawn(1) != drawn(2)


def test_match_is_one_softmax_of_mean_logits_in_float64(model: Model, alone: Model) -> None:
    texts = ["a red square", "one", "two small blue circles above a green triangle", "red", "a"]
    matched = model.match(IMAGES, texts)
    bridge = model.bridged.bridge.double()
    try:
        with torch.no_grad():
            for row, (image, text) in enumerate(zip(IMAGES, texts, strict=True)):
                pixels = model.prepare(image).pixels[None]
                state = bridge.encode_image(model.bridged.vision_encoder(pixels).double())
                tokens = model.tokens([text])
                logits = bridge.match_head(bridge.fuse(state, tokens))[0].mean(0)
                odds = torch.exp(logits[1] - logits[0])
                assert float(matched.itm[row]) == pytest.approx(float(odds / (1 + odds)), abs=1e-5)
                word = bridge.embed_text(bridge.encode_text(tokens))[0]
                cosine = max(float(query @ word) for query in bridge.embed_image(state)[0])
                assert float(matched.itc[row]) == pytest.approx(cosine, abs=1e-5)
                assert abs(cosine) <= 1
    finally:
        bridge.float()
    for row, (image, text) in enumerate(zip(IMAGES, texts, strict=True)):
        one = alone.match([image], [text])
        assert_close(torch.stack(one), torch.stack(matched)[:, row : row + 1], atol=1e-5, rtol=0)


def test_the_bridges_own_captions_of_a_batch() -> None:
    model = tiny_model("blip2_tiny", batch_size=8)
    model.bridged.learned = {name for name in model.bridged.learned if name.startswith("bridge.")}
    for beams in (1, 3):
        generation = Generation(beams=beams, max_new_tokens=6)
        together = model.caption(IMAGES, generation=generation)
        alone = Model(model.bridged, 1)
        assert together == [alone.caption([image], generation=generation)[0] for image in IMAGES]
