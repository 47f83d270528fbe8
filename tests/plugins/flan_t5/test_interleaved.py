"""FlanT5's prompts with several images, against transformers' own T5: rows made by hand, one at a time, no padding."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_flan_t5.language_model import FlanT5
from mmbridge_flan_t5.tokenizer import FlanT5Tokenizer
from mmbridge_registry import Generation, UserError
from torch import Tensor
from transformers import AutoTokenizer, T5ForConditionalGeneration

END, NOBODY = 1, 124
WISH = 14.0
IMG = None
# What a person means by a prompt, piece by piece; T5 reads no blank but the one before every word.
BY_HAND = {
    "a photo of": [IMG, "a photo of</s>"],
    "<image> a photo of": [IMG, "a photo of</s>"],
    "": [IMG, "</s>"],
    "<image>": [IMG, "</s>"],
    "<image> <image>": [IMG, IMG, "</s>"],
    "the <image>": ["the", IMG, "</s>"],
    "<image><image>a photo of": [IMG, IMG, "a photo of</s>"],
    "a <image>photo <image> of": ["a", IMG, "photo", IMG, "of</s>"],
    "<image> what color? red\n<image> what color?": [IMG, "what color? red", IMG, "what color?</s>"],
}
GENERATIONS = {
    "greedy": Generation(max_new_tokens=10),
    "beams": Generation(beams=3, max_new_tokens=10),
    "short beams": Generation(beams=3, max_new_tokens=10, length_penalty=-1.0),
    "long beams": Generation(beams=2, max_new_tokens=10, length_penalty=2.0, min_new_tokens=6),
    "no repeats": Generation(max_new_tokens=10, repetition_penalty=1.8),
    "beams without repeats": Generation(beams=3, max_new_tokens=8, repetition_penalty=1.3, min_new_tokens=3),
}


class ByHand:
    """transformers' T5 in float64."""

    def __init__(self, folder):
        self.lm = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, text: str) -> Tensor:
        return torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.int64)

    def embed(self, pieces: list, images: Tensor) -> Tensor:
        shown = iter(images.double())
        table = self.lm.get_input_embeddings()
        return torch.cat([next(shown) if piece is IMG else table(self.ids(piece)) for piece in pieces])[None]

    def generate(self, pieces: list, images: Tensor, generation: Generation) -> list[int]:
        row = self.lm.generate(
            inputs_embeds=self.embed(pieces, images),
            num_beams=generation.beams,
            max_new_tokens=generation.max_new_tokens,
            min_new_tokens=generation.min_new_tokens,
            length_penalty=generation.length_penalty,
            repetition_penalty=generation.repetition_penalty,
            do_sample=False,
            decoder_start_token_id=0,
            eos_token_id=END,
            pad_token_id=0,
            suppress_tokens=[NOBODY],
        )[0, 1:].tolist()
        return until_the_end(row)

    def score(self, pieces: list, images: Tensor, answer: str) -> Tensor:
        ids = self.ids(f"{answer}</s>")
        given = torch.cat([torch.zeros(1, dtype=torch.int64), ids[:-1]])[None]
        logits = self.lm(inputs_embeds=self.embed(pieces, images), decoder_input_ids=given).logits[0]
        return logits.log_softmax(-1)[torch.arange(len(ids)), ids].sum()


def until_the_end(row: list[int]) -> list[int]:
    return [*row[: row.index(END)], END] if END in row else row


@pytest.fixture(scope="module")
def reference(folder):
    return ByHand(folder)


@pytest.fixture
def written(monkeypatch):
    """Collect the ids that generate writes, from after the start token to the end token."""
    rows = []

    def decode(self, ids):
        rows.extend(until_the_end(row) for row in ids[:, 1:].tolist())
        return original(self, ids)

    original = FlanT5Tokenizer.decode
    monkeypatch.setattr(FlanT5Tokenizer, "decode", decode)
    return rows


def images_of(rows) -> list[int]:
    return [sum(piece is IMG for piece in pieces) for pieces in rows]


def draw(images: int) -> Tensor:
    return torch.randn(images, 3, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def wishing(t5, reference):
    """Make the end likelier by so much, in both; random weights would hardly ever choose it."""
    hooks = []

    def wish(much: float) -> None:
        def add(head: torch.nn.Module, given: object, logits: Tensor) -> Tensor:
            return logits.index_add(-1, torch.tensor([END]), logits.new_full((*logits.shape[:-1], 1), much))

        hooks.extend(model.lm.lm_head.register_forward_hook(add) for model in (t5, reference))

    yield wish
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS)
def test_rows_end_where_rows_made_by_hand_end(t5, reference, written, wishing, generation):
    wishing(WISH)
    counts = images_of(BY_HAND.values())
    soft_prompt = draw(sum(counts))
    t5.generate(soft_prompt, list(BY_HAND), generation)
    for row, pieces, images in zip(written, BY_HAND.values(), soft_prompt.split(counts), strict=True):
        assert row == reference.generate(pieces, images, generation)
        assert len(row) > generation.min_new_tokens
    assert len({len(row) for row in written if row[-1:] == [END]}) > 1


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS)
def test_a_batch_writes_the_tokens_of_rows_made_by_hand(t5, reference, written, generation):
    counts = images_of(BY_HAND.values())
    soft_prompt = draw(sum(counts))
    t5.generate(soft_prompt, list(BY_HAND), generation)
    for row, pieces, images in zip(written, BY_HAND.values(), soft_prompt.split(counts), strict=True):
        assert row == reference.generate(pieces, images, generation)
    assert len({tuple(row) for row in written}) > 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(["<image>", "the", "a photo"]), min_size=1, max_size=5), min_size=2, max_size=4)
)
def test_any_batch_scores_as_rows_made_by_hand(t5: FlanT5, reference, prompts):
    rows = [[*(IMG if part == "<image>" else part for part in parts), "</s>"] for parts in prompts]
    rows = [row if IMG in row else [IMG, *row] for row in rows]
    counts = images_of(rows)
    soft_prompt = draw(sum(counts))
    scores = t5.score(soft_prompt, [" ".join(parts) for parts in prompts], [["red", "two dogs"]] * len(rows))
    for score, pieces, images in zip(scores, rows, soft_prompt.split(counts), strict=True):
        expected = [reference.score(pieces, images, text) for text in ("red", "two dogs")]
        torch.testing.assert_close(score.double(), torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_a_leading_placeholder_changes_no_bit(t5, soft_prompt):
    prompts, logits = ["a photo of", "", "what color is it?", "the"], []
    hook = t5.lm.lm_head.register_forward_hook(lambda _, __, out: logits.append(out))
    for asked in (prompts, [f"<image> {prompt}" for prompt in prompts]):
        t5.generate(soft_prompt, asked, GENERATIONS["greedy"])
    hook.remove()
    half = len(logits) // 2
    assert all(torch.equal(one, other) for one, other in zip(logits[:half], logits[half:], strict=True))


@pytest.mark.parametrize(("prompt", "images"), [("<image> a", 2), ("<image><image> a", 1), ("a", 2), ("a", 0)])
def test_images_without_a_place_and_places_without_an_image(t5, soft_prompt, prompt, images):
    for ask in (
        lambda: t5.generate(soft_prompt[:images], [prompt], GENERATIONS["greedy"]),
        lambda: t5.score(soft_prompt[:images], [prompt], [["the"]]),
    ):
        with pytest.raises(UserError, match=f"images given: {images}, places") as error:
            ask()
        assert prompt in error.value.where
