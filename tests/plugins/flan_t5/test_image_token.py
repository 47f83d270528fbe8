"""Tokenizers of transformers' BLIP-2 have a placeholder of their own, and tables have rows that are no token's."""

import shutil

import pytest
import torch
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5
from mmbridge_flan_t5.tokenizer import FlanT5Tokenizer
from mmbridge_registry import Generation
from toys.image_token import with_image_token
from toys.tiny_t5 import write_t5

IMAGE, ROWS = 124, 160


@pytest.fixture(scope="module")
def placeholder(tmp_path_factory):
    """Give the folder of a tiny T5 with 35 rows more than words and a tokenizer that knows `<image>`."""
    folder = tmp_path_factory.mktemp("t5")
    copy, token = with_image_token(write_t5(folder / "plain", vocab_size=ROWS), folder / "placeholder")
    assert token == IMAGE
    return copy


@pytest.fixture(scope="module")
def t5(placeholder):
    return build_flan_t5(FlanT5Options(weights=str(placeholder)))


@pytest.mark.parametrize(
    "generation",
    [
        Generation(max_new_tokens=6),
        Generation(max_new_tokens=6, beams=3),
        Generation(max_new_tokens=6, sample=True, top_p=1.0, temperature=50.0),
    ],
)
def test_rows_of_nobody_are_never_written(t5, soft_prompt, monkeypatch, generation):
    written = []
    original = FlanT5Tokenizer.decode
    monkeypatch.setattr(FlanT5Tokenizer, "decode", lambda self, ids: written.append(ids) or original(self, ids))
    hook = t5.lm.lm_head.register_forward_hook(
        lambda _, __, logits: torch.cat([logits[..., :IMAGE], logits[..., IMAGE:] + 1e3], -1)
    )
    texts = t5.generate(soft_prompt, ["", "a", "the", "a photo of"], generation)
    hook.remove()
    assert written[0].numel() > 12
    assert (written[0] < IMAGE).all()
    assert not any("<image>" in text for text in texts)


def test_no_id_crashes_decoding_and_the_placeholder_has_no_text(t5):
    text = t5.text.decode(torch.tensor([[0, 3, IMAGE, 16, 125, 159, 32127, 1]]))[0]
    assert text.split() == ["a", "photo"]


def test_a_caption_may_spell_the_placeholder(t5, soft_prompt):
    tokens = t5.tokenizer(["", "<image> a photo of"], ["a <image> photo", "<image>"])
    assert tokens.inputs.ids.max() < IMAGE
    assert tokens.labels.max() < IMAGE
    assert t5.loss(soft_prompt[:2], tokens).total.isfinite()
    assert t5.score(soft_prompt[:1], ["a"], [["the <image>", "<image>"]])[0].isfinite().all()


def test_the_placeholder_may_lie_beyond_the_table(tmp_path, soft_prompt):
    copy, token = with_image_token(write_t5(tmp_path / "tight", vocab_size=IMAGE), tmp_path / "placeholder")
    t5 = build_flan_t5(FlanT5Options(weights=str(copy)))
    assert token == t5.lm.get_input_embeddings().num_embeddings
    assert t5.loss(soft_prompt[:1], t5.tokenizer([""], ["a <image> photo"])).total.isfinite()
    assert len(t5.generate(soft_prompt, ["a"] * 4, Generation(max_new_tokens=4))) == 4


def test_a_tokenizer_with_a_placeholder_changes_nothing_else(placeholder, tmp_path):
    plain = write_t5(shutil.copytree(placeholder, tmp_path / "plain"), vocab_size=ROWS)
    texts = ["a photo of the cat\n", " the", "</s>a", "?"]
    one, other = (FlanT5Tokenizer(str(folder), ROWS, 32) for folder in (plain, placeholder))
    assert torch.equal(one(texts, texts).inputs.ids, other(texts, texts).inputs.ids)
    assert one.vocabulary.silent == other.vocabulary.silent == list(range(IMAGE, ROWS))
