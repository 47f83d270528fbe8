"""CapFilt's parts give what the libraries give that they are made of."""

import pytest
import torch
from mmbridge_capfilt import (
    BlipOptions,
    OpenClipOptions,
    RunCaptionerOptions,
    RunScorerOptions,
    build_blip,
    build_open_clip,
    build_run_captioner,
    build_run_scorer,
)
from mmbridge_registry import UserError
from open_clip import create_model_and_transforms, get_tokenizer
from toys import capfilt_parts
from toys.tiny_run import photographs, tiny_model
from transformers import BertTokenizerFast, BlipForConditionalGeneration

PICTURES = [capfilt_parts.picture(number) for number in range(3)]
TEXTS = [["a red dog", "a cat"], [], ["a man on the street"]]


def never(*_):
    raise AssertionError("this part loads no run")


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return capfilt_parts.write_blip(tmp_path_factory.mktemp("blip") / "tiny")


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    return capfilt_parts.write_open_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def model():
    return tiny_model("blip2_tiny_opt")


def test_blip_draws_what_transformers_draws(blip):
    captions = build_blip(BlipOptions(weights=str(blip)), never, "cpu").caption(PICTURES[:1], 4, seed=3)
    model, tokenizer = BlipForConditionalGeneration.from_pretrained(blip), BertTokenizerFast.from_pretrained(blip)
    captioner = build_blip(BlipOptions(weights=str(blip)), never, "cpu")
    ids = tokenizer("a picture of", return_tensors="pt").input_ids
    pixels = captioner.transform(PICTURES[0])[None]
    torch.manual_seed(3)
    drawn = {"do_sample": True, "top_p": 0.9, "repetition_penalty": 1.1, "num_return_sequences": 4}
    drawn |= {"min_length": 4 + 5, "max_length": 4 + 20}
    expected = model.eval().generate(pixel_values=pixels, input_ids=ids, **drawn)
    assert captions == [[text.removeprefix("[DEC] a picture of ") for text in tokenizer.batch_decode(expected, True)]]
    assert len(set(captions[0])) > 1


def test_blip_gives_as_many_as_are_asked_for_and_the_same_ones_again(blip):
    captioner = build_blip(BlipOptions(weights=str(blip)), never, "cpu")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again = (captioner.caption(PICTURES, 5, seed=1) for _ in range(2))
    assert first == again != captioner.caption(PICTURES, 5, seed=2)
    assert [len(row) for row in first] == [5, 5, 5]
    assert torch.equal(torch.get_rng_state(), before)


def test_open_clip_gives_cosines(open_clip):
    scores = build_open_clip(OpenClipOptions(weights=str(open_clip)), never, "cpu").score(PICTURES, TEXTS)
    model, _, transform = create_model_and_transforms(f"local-dir:{open_clip}")
    tokenizer = get_tokenizer(f"local-dir:{open_clip}")
    with torch.no_grad():
        for picture, texts, row in zip(PICTURES, TEXTS, scores, strict=True):
            seen = model.eval().encode_image(transform(picture)[None])
            for text, score in zip(texts, row, strict=True):
                cosine = torch.cosine_similarity(seen, model.encode_text(tokenizer([text])))
                assert score == pytest.approx(cosine.item(), abs=1e-5)
    assert scores[1] == []


def test_pickles_are_refused(open_clip, tmp_path):
    (tmp_path / "open_clip_config.json").write_text((open_clip / "open_clip_config.json").read_text())
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"cposix\nsystem\n")
    with pytest.raises(UserError, match="pickles are not read"):
        build_open_clip(OpenClipOptions(weights=str(tmp_path)), never, "cpu")


def test_random_blip_needs_words():
    with pytest.raises(UserError, match="come without a tokenizer"):
        build_blip(BlipOptions(weights="random"), never, "cpu")


def test_a_run_captions_and_scores(model):
    pictures = photographs(3)
    captioner = build_run_captioner(RunCaptionerOptions(path="runs/x"), lambda path, stage: model, "cpu")
    first, again = (captioner.caption(pictures, 4, seed=1) for _ in range(2))
    assert first == again
    assert [len(row) for row in first] == [4, 4, 4]
    model.bridged.in_step = frozenset({"contrast", "match", "decode"})
    for by in ("itc", "itm"):
        scorer = build_run_scorer(RunScorerOptions(path="runs/x", by=by), lambda path, stage: model, "cpu")
        scores = scorer.score(pictures, TEXTS)
        for picture, texts, row in zip(pictures, TEXTS, scores, strict=True):
            expected = getattr(model.match([picture] * len(texts), texts), by).tolist() if texts else []
            assert row == pytest.approx(expected, abs=1e-5)
