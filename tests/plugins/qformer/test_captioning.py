"""Captions by the Q-Former itself, against those that the original wrote from the same weights."""

import json
from pathlib import Path

import pytest
import torch
from mmbridge_qformer.beam_search import Finished
from mmbridge_qformer.captioning import write
from mmbridge_qformer.draft import Draft, adjust, draw
from mmbridge_registry import Generation, Tokens, UserError
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

GOLDENS = Path(__file__).parents[2] / "goldens"
SEP = 3
CASES = {
    "greedy": Generation(max_new_tokens=19, min_new_tokens=4),
    "greedy_default": Generation(max_new_tokens=29, min_new_tokens=9),
    "beam3": Generation(beams=3, max_new_tokens=19, min_new_tokens=4),
    "beam5": Generation(beams=5, max_new_tokens=11, min_new_tokens=2),
}


@pytest.fixture(scope="module")
def told():
    return json.loads((GOLDENS / "generate_qformer.json").read_text())


@pytest.fixture(scope="module")
def written():
    return load_file(GOLDENS / "generate_qformer.safetensors")


@pytest.fixture
def bent(bridge32, told):
    """The Q-Former with the head's bias for [SEP] raised, so that texts end; by how much depends on the case."""

    def bend(case):
        bias = told["beam_sep_bias"] if case.startswith("beam") else told["sep_bias"]
        with torch.no_grad():
            bridge32.vocabulary.bias[SEP] += bias
        return bridge32

    return bend


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_those_of_the_original(case, bent, golden, written, told):
    bridge = bent(case)
    image = bridge.encode_image(golden["features"])
    with torch.no_grad():
        ids = write(bridge, image, CASES[case])
    theirs = written[f"{case}.sequences"][:, 1:]
    assert ids.equal(theirs)
    assert bridge.generate_text(image, CASES[case]) == told[case]["text"]


def test_a_batch_gives_what_its_rows_give_alone(bent, golden):
    bridge = bent("beam3")
    for case in ("greedy", "beam3"):
        together = bridge.generate_text(bridge.encode_image(golden["features"]), CASES[case])
        alone = [bridge.generate_text(bridge.encode_image(row[None]), CASES[case])[0] for row in golden["features"]]
        assert together == alone


def test_each_step_scores_what_reading_everything_again_would(bridge, features):
    with torch.no_grad():
        image = bridge.encode_image(features)
        draft = Draft(bridge, image)
        tokens = torch.randint(5, 199, (6, 7), generator=torch.Generator().manual_seed(0))
        for column in tokens.T:
            step = draft.scores()
            again = bridge.decode_text(image, Tokens(draft.ids, torch.ones_like(draft.ids, dtype=torch.bool)))
            assert_close(step, bridge.vocabulary_logits(again[:, -1]), rtol=1e-12, atol=1e-12)
            draft.go_on(column)


def test_beams_as_wide_as_the_vocabulary_find_the_likeliest_text_of_all(bridge, features):
    end, vocabulary = bridge.tokenizer.end, bridge.geometry.vocabulary
    with torch.no_grad():
        image = bridge.encode_image(features[:2])
        generation = Generation(beams=vocabulary, max_new_tokens=2, min_new_tokens=2)
        found = write(bridge, image, generation)
        pairs = torch.tensor([[bridge.geometry.start, first] for first in range(vocabulary)])
        texts = Tokens(pairs, torch.ones_like(pairs, dtype=torch.bool))
        for row in range(2):
            every = image.select(torch.full((vocabulary,), row))
            scores = bridge.vocabulary_logits(bridge.decode_text(every, texts)).log_softmax(-1)
            likelihood = scores[0, 0, :, None] + scores[:, 1, :]
            likelihood[end], likelihood[:, end] = -torch.inf, -torch.inf
            assert found[row].tolist() == list(divmod(int(likelihood.argmax()), vocabulary))


def test_an_end_counts_only_among_the_best_steps_and_not_as_length():
    ids = torch.tensor([[199, 5, 6], [199, 5, 7]])
    one = Finished(beams=2, end=SEP, penalty=1.0)
    late = [(-1.0, 0, 8), (-2.0, 1, 9), (-3.0, 0, SEP), (-4.0, 1, 10)]
    assert one.choose(late, ids) == late[:2]
    assert one.texts == []
    early = [(-1.5, 0, 8), (-3.0, 1, SEP), (-4.0, 1, 10), (-5.0, 0, 11)]
    assert one.choose(early, ids) == [early[0], early[2]]
    assert [(score, text.tolist()) for score, text in one.texts] == [(-1.0, [5, 7, SEP])]
    assert not one.done
    one.choose([(-1.2, 0, SEP), (-9.0, 0, 8), (-9.5, 1, 8), (-9.6, 1, 9)], ids)
    assert [score for score, _ in one.texts] == pytest.approx([-0.4, -1.0])
    assert not one.done  # the best sum, -1.2 over a length of 4, could still beat the worst kept
    one.choose([(-8.0, 0, 8), (-9.0, 0, 9), (-9.5, 1, 8), (-9.6, 1, 9)], ids)
    assert one.done


def test_scores_are_adjusted_as_transformers_does():
    scores, ids = torch.randn(3, 9), torch.tensor([[8, 1, 1], [8, 2, 5], [8, 0, 3]])
    theirs = RepetitionPenaltyLogitsProcessor(1.7)(ids, scores.clone())
    generation = Generation(repetition_penalty=1.7, min_new_tokens=2)
    assert_close(adjust(scores, ids, end=4, generation=generation), theirs)
    early = adjust(scores, ids[:, :2], end=4, generation=generation)
    assert early[:, 4].isneginf().all() and early.isneginf().sum() == 3


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9])
def test_tokens_are_drawn_from_the_nucleus_that_transformers_keeps(top_p):
    torch.manual_seed(0)
    scores = torch.randn(1, 12) * 2
    kept = TopPLogitsWarper(top_p)(torch.empty(1, 0), scores / 0.7)
    drawn = draw(scores.expand(20_000, -1), Generation(sample=True, top_p=top_p, temperature=0.7))
    shares = drawn.bincount(minlength=12) / 20_000
    assert_close(shares, kept.softmax(-1)[0], atol=0.02, rtol=0)
    assert (shares[kept[0].isneginf()] == 0).all()


def test_sampled_captions_follow_the_seed(bent, golden):
    bridge = bent("greedy")
    image, generation = bridge.encode_image(golden["features"]), Generation(sample=True, max_new_tokens=8)
    torch.manual_seed(1)
    first, second = (bridge.generate_text(image, generation) for _ in range(2))
    torch.manual_seed(1)
    assert bridge.generate_text(image, generation) == first != second


@pytest.mark.parametrize(
    ("generation", "complaint"),
    [
        (Generation(max_new_tokens=65), "65 new tokens do not fit 64 positions"),
        (Generation(beams=2, sample=True), "cannot sample with beams"),
    ],
)
def test_settings_that_cannot_be(bridge32, golden, generation, complaint):
    with pytest.raises(UserError, match=complaint):
        bridge32.generate_text(bridge32.encode_image(golden["features"]), generation)


def test_a_caption_may_fill_every_position(bridge32, golden):
    image = bridge32.encode_image(golden["features"][:1])
    with torch.no_grad():
        ids = write(bridge32, image, Generation(max_new_tokens=64, min_new_tokens=64))
    assert ids.shape == (1, 64)
