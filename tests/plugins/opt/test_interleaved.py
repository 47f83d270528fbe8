"""OPT's prompts with several images, against transformers' own OPT: rows made by hand, one at a time, no padding."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_opt.language_model import Opt
from mmbridge_opt.tokenizer import OptTokenizer
from mmbridge_registry import Generation, UserError
from mmbridge_registry.prompts import SLOT
from torch import Tensor
from toys.transformers_blip2 import Reference
from transformers import AutoTokenizer, OPTForCausalLM

NEWLINE, NOBODY = 14, 393
WISH = 6.0
IMG = None
# What a person means by a prompt, piece by piece: the images in order, and the text with every blank that is read.
BY_HAND = {
    "a photo of": [IMG, "</s>a photo of"],
    "<image> a photo of": [IMG, "</s>a photo of"],
    "": [IMG, "</s>"],
    "<image>": [IMG, "</s>"],
    "<image> <image>": [IMG, IMG, "</s>"],
    "the <image>": ["</s>the", IMG],
    " the<image> ": ["</s>the", IMG],
    "<image><image> a photo of": [IMG, IMG, "</s>a photo of"],
    "a <image>photo <image> of": ["</s>a", IMG, "photo", IMG, " of"],
    "<image> what color? red\n<image> what color?": [IMG, "</s>what color? red\n", IMG, " what color?"],
    "\n<image>\nthe": [IMG, "</s>the"],
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
    """transformers' OPT in float64."""

    def __init__(self, folder):
        self.lm = OPTForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
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
            eos_token_id=NEWLINE,
            pad_token_id=1,
            suppress_tokens=[NOBODY],
        )[0].tolist()
        return [*row[: row.index(NEWLINE)], NEWLINE] if NEWLINE in row else row

    def score(self, pieces: list, images: Tensor, answer: str) -> Tensor:
        told = self.embed(pieces, images).shape[1]
        ids = self.ids(answer)
        logs = self.lm(inputs_embeds=self.embed([*pieces, answer], images)).logits[0].log_softmax(-1)
        return logs[torch.arange(told - 1, told - 1 + len(ids)), ids].sum()


@pytest.fixture(scope="module")
def reference(folder):
    return ByHand(folder)


@pytest.fixture
def written(monkeypatch):
    """Collect the ids that generate writes, up to the newline."""
    rows = []

    def decode(self, ids):
        rows.extend([*row[: row.index(NEWLINE)], NEWLINE] if NEWLINE in row else row for row in ids.tolist())
        return original(self, ids)

    original = OptTokenizer.decode
    monkeypatch.setattr(OptTokenizer, "decode", decode)
    return rows


def images_of(rows) -> list[int]:
    return [sum(piece is IMG for piece in pieces) for pieces in rows]


def draw(images: int, seed: int = 3) -> Tensor:
    return torch.randn(images, 3, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def wishing(opt, reference):
    """Make the end likelier by so much, in both; random weights would hardly ever choose it."""
    hooks = []

    def wish(much: float) -> None:
        def add(head: torch.nn.Module, given: object, logits: Tensor) -> Tensor:
            return logits.index_add(-1, torch.tensor([NEWLINE]), logits.new_full((*logits.shape[:-1], 1), much))

        hooks.extend(model.lm.lm_head.register_forward_hook(add) for model in (opt, reference))

    yield wish
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS)
def test_rows_end_where_rows_made_by_hand_end(opt, reference, written, wishing, generation):
    wishing(WISH)
    counts = images_of(BY_HAND.values())
    soft_prompt = draw(sum(counts))
    opt.generate(soft_prompt, list(BY_HAND), generation)
    for row, pieces, images in zip(written, BY_HAND.values(), soft_prompt.split(counts), strict=True):
        assert row == reference.generate(pieces, images, generation)
        assert len(row) > generation.min_new_tokens
    assert len({len(row) for row in written if row[-1:] == [NEWLINE]}) > 1


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS)
def test_a_batch_writes_the_tokens_of_rows_made_by_hand(opt, reference, written, generation):
    counts = images_of(BY_HAND.values())
    soft_prompt = draw(sum(counts))
    opt.generate(soft_prompt, list(BY_HAND), generation)
    for row, pieces, images in zip(written, BY_HAND.values(), soft_prompt.split(counts), strict=True):
        assert row == reference.generate(pieces, images, generation)
    assert len({tuple(row) for row in written}) > 6


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(["<image>", "the", "a photo"]), min_size=1, max_size=5), min_size=2, max_size=4)
)
def test_any_batch_scores_as_rows_made_by_hand(opt: Opt, reference, prompts):
    rows = [pieces_of(parts if "<image>" in parts else ["<image>", *parts]) for parts in prompts]
    counts = images_of(rows)
    soft_prompt = draw(sum(counts))
    scores = opt.score(soft_prompt, [" ".join(parts) for parts in prompts], [["red", "two dogs"]] * len(rows))
    for score, pieces, images in zip(scores, rows, soft_prompt.split(counts), strict=True):
        expected = [reference.score(*answered(pieces, text, images)) for text in ("red", "two dogs")]
        torch.testing.assert_close(score.double(), torch.stack(expected), rtol=1e-5, atol=1e-5)


def pieces_of(parts: list[str]) -> list:
    """Join words by blanks, leave out the blank at the very beginning, and open the first text."""
    pieces = []
    for part in parts:
        if part == "<image>":
            pieces.append(IMG)
        elif not any(pieces):
            pieces.append(f"</s>{part}")
        elif pieces[-1] is IMG:
            pieces.append(f" {part}")
        else:
            pieces[-1] += f" {part}"
    return pieces if any(pieces) else [*pieces, "</s>"]


def answered(pieces: list, text: str, images: Tensor) -> tuple[list, Tensor, str]:
    """Write the answer as training would: a blank before it after text, `</s>` scored where nothing else stands."""
    if pieces[-1] == "</s>":
        return pieces[:-1], images, f"</s>{text}\n"
    return pieces, images, f"{text}\n" if pieces[-1] is IMG else f" {text}\n"


@pytest.mark.parametrize("generation", [GENERATIONS["greedy"], GENERATIONS["short beams"]])
def test_tokens_equal_transformers_blip2(opt, folder, written, generation):
    """Its placeholders may stand anywhere as well: one per query."""
    blip2 = Reference(OPTForCausalLM.from_pretrained(folder), batch=5)
    prompts = ["a photo of <image> and <image>", "<image> what color?", "the <image> on <image> is"]
    tokens = opt.text.prompts(prompts, blip2.queries)
    expected = blip2.model.generate(
        blip2.pixels,
        tokens.ids.where(tokens.ids != SLOT, blip2.placeholder),
        attention_mask=tokens.mask.long(),
        num_beams=generation.beams,
        max_new_tokens=generation.max_new_tokens,
        length_penalty=generation.length_penalty,
        do_sample=False,
        eos_token_id=NEWLINE,
        suppress_tokens=[NOBODY],
    )[:, tokens.ids.shape[1] :]
    assert opt.generate(blip2.soft_prompt, prompts, generation) == opt.text.decode(expected)
    for row, ids in zip(written, expected.tolist(), strict=False):
        assert row == ids[: len(row)]


def test_a_leading_placeholder_changes_no_bit(opt, soft_prompt):
    prompts, logits = ["a photo of", "", "what color is it?", "the"], []
    hook = opt.lm.lm_head.register_forward_hook(lambda _, __, out: logits.append(out))
    for asked in (prompts, [f"<image> {prompt}" for prompt in prompts]):
        opt.generate(soft_prompt, asked, GENERATIONS["greedy"])
    hook.remove()
    half = len(logits) // 2
    assert all(torch.equal(one, other) for one, other in zip(logits[:half], logits[half:], strict=True))


@pytest.mark.parametrize(("prompt", "images"), [("<image> a", 2), ("<image><image> a", 1), ("a", 2), ("a", 0)])
def test_images_without_a_place_and_places_without_an_image(opt, soft_prompt, prompt, images):
    for ask in (
        lambda: opt.generate(soft_prompt[:images], [prompt], GENERATIONS["greedy"]),
        lambda: opt.score(soft_prompt[:images], [prompt], [["the"]]),
    ):
        with pytest.raises(UserError, match=f"images given: {images}, places") as error:
            ask()
        assert prompt in error.value.where


def test_a_row_that_is_too_long_is_refused_by_its_own_length(opt):
    """96 positions: padding takes none."""
    fits = "<image> the" * 17 + " the" * 3  # 17 x 3 queries, </s>, 17 + 3 words and 24 new tokens
    generation = Generation(max_new_tokens=24)
    texts = opt.generate(draw(18), [fits, "the <image>"], generation)
    assert len(texts) == 2
    with pytest.raises(UserError, match="97 positions, this OPT has 96"):
        opt.generate(draw(18), [f"{fits} the", "the <image>"], generation)
    with pytest.raises(UserError, match="102 positions, this OPT has 96"):
        opt.score(draw(34), ["<image>" * 34 + " the"], [["red"]])
    with pytest.raises(UserError, match="97 positions, this OPT has 96"):
        opt.score(draw(31), ["<image>" * 31 + " the"], [["red"]])
