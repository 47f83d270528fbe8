"""Tokenizers of transformers' BLIP-2 have a placeholder of their own, and tables have rows that are no token's."""

import json
import shutil

import pytest
import torch
from mmbridge_opt import OptOptions, build_opt
from mmbridge_opt.geometries import GEOMETRIES
from mmbridge_opt.tokenizer import OptTokenizer
from mmbridge_registry import Generation
from torch.nn import functional as F
from toys.image_token import with_image_token
from toys.tiny_opt import write_opt

NEWLINE, IMAGE, ROWS = 14, 393, 448


@pytest.fixture(scope="module")
def placeholder(tmp_path_factory):
    """Give the folder of a tiny OPT with 54 rows more than words and a tokenizer that knows `<image>`."""
    folder = tmp_path_factory.mktemp("opt")
    copy, token = with_image_token(write_opt(folder / "plain", vocab_size=ROWS), folder / "placeholder")
    assert token == IMAGE
    return copy


@pytest.fixture(scope="module")
def opt(placeholder):
    return build_opt(OptOptions(weights=str(placeholder)))


def test_newline_is_found_and_ends_beams_too(opt, soft_prompt):
    assert opt.text.vocabulary.newline == NEWLINE
    asked = []

    def wish_newline(head, given, logits):
        asked.append(len(logits))
        return logits + 1e4 * F.one_hot(torch.tensor(NEWLINE), ROWS)

    hook = opt.lm.lm_head.register_forward_hook(wish_newline)
    for beams in (1, 3):
        texts = opt.generate(soft_prompt, ["", "a", "<image>", "the <image>"], Generation(beams=beams))
        assert texts == ["", "", "", ""]
    hook.remove()
    assert asked[0] == 4
    assert len(asked) <= 1 + 3


@pytest.mark.parametrize(
    "generation",
    [
        Generation(max_new_tokens=6),
        Generation(max_new_tokens=6, beams=3),
        Generation(max_new_tokens=6, sample=True, top_p=1.0, temperature=50.0),
    ],
)
def test_rows_of_nobody_are_never_written(opt, soft_prompt, monkeypatch, generation):
    written = []
    original = OptTokenizer.decode
    monkeypatch.setattr(OptTokenizer, "decode", lambda self, ids: written.append(ids) or original(self, ids))
    hook = opt.lm.lm_head.register_forward_hook(
        lambda _, __, logits: torch.cat([logits[..., :IMAGE], logits[..., IMAGE:] + 1e3], -1)
    )
    texts = opt.generate(soft_prompt, ["", "a", "the", "a photo of"], generation)
    hook.remove()
    assert written[0].numel() > 12
    assert (written[0] < IMAGE).all()
    assert not any("<image>" in text for text in texts)


def test_no_id_crashes_decoding_and_the_placeholder_has_no_text(opt):
    ids = torch.tensor([[101, IMAGE, 286, 0, 394, 447, 50303, NEWLINE]])
    assert opt.text.decode(ids)[0].startswith("a photo")
    assert "<image>" not in opt.text.decode(ids)[0]


def test_a_caption_may_spell_the_placeholder(opt, soft_prompt):
    tokens = opt.tokenizer(["", "<image> a photo of"], ["a <image> photo", "<image>"])
    assert (tokens.inputs.ids != IMAGE).all()
    assert tokens.inputs.ids[tokens.inputs.mask].max() < IMAGE
    assert opt.loss(soft_prompt[:2], tokens).total.isfinite()
    assert opt.score(soft_prompt[:1], ["a"], [["the <image>", "<image>"]])[0].isfinite().all()


def test_the_placeholder_may_lie_beyond_the_table(folder, tmp_path, soft_prompt):
    copy, token = with_image_token(write_opt(tmp_path / "tight", vocab_size=IMAGE), tmp_path / "placeholder")
    opt = build_opt(OptOptions(weights=str(copy)))
    assert token == opt.lm.get_input_embeddings().num_embeddings
    tokens = opt.tokenizer([""], ["a <image> photo"])
    assert opt.loss(soft_prompt[:1], tokens).total.isfinite()
    assert len(opt.generate(soft_prompt, ["a"] * 4, Generation(max_new_tokens=4))) == 4


def test_a_tokenizer_with_a_placeholder_changes_nothing_else(placeholder, tmp_path):
    plain = shutil.copytree(placeholder, tmp_path / "plain")
    write_opt(plain, vocab_size=ROWS)
    (plain / "tokenizer.json").unlink()
    texts = ["a photo of the cat\n", " the", "</s>a", "?"]
    one, other = (OptTokenizer(str(folder), ROWS, 32, False) for folder in (plain, placeholder))
    assert torch.equal(one([""] * 4, texts).inputs.ids, other([""] * 4, texts).inputs.ids)
    assert one.vocabulary.silent == other.vocabulary.silent == list(range(IMAGE, ROWS))


def test_a_table_with_spare_rows_is_still_of_its_geometry(tmp_path):
    """transformers' BLIP-2 has 50304 rows, OPT 50272; its tokenizer 50265 words and `<image>`."""
    geometry = {**GEOMETRIES["opt-125m"], "model_type": "opt", "vocab_size": 50304}
    (tmp_path / "config.json").write_text(json.dumps(geometry))
    with torch.device("meta"):
        opt = build_opt(OptOptions(weights=str(tmp_path), architecture="opt-125m"))
    assert opt.lm.get_input_embeddings().num_embeddings == opt.text.vocab_size == 50304
