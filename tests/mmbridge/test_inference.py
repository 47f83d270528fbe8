"""The model as users see it, on toy parts: rows do not influence each other, nothing is computed twice."""

import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from mmbridge_registry import Generation, UserError
from PIL import Image
from torch.testing import assert_close
from toys.answering import Deaf, Eye, Voice, Words
from toys.text_bridge import ToyBridge
from toys.whole_bridge import WholeBridge

from mmbridge.data.images import decode
from mmbridge.inference import Model
from mmbridge.model import BridgedModel

TEXTS = ["a red square", "a", "two small blue circles", "Green, green!"]


def model(batch_size=3, writes=True, voice=True, bridge=Words):
    torch.manual_seed(5)
    bridged = BridgedModel(Eye(), bridge(), Voice() if voice else None)
    bridged.learned.update(f"bridge.{name}" for name, _ in bridged.bridge.named_parameters())
    if writes:
        bridged.learned.add("projection.weight")
    return Model(bridged, batch_size)


def pictures(count):
    torch.manual_seed(2)
    return [Image.fromarray(torch.randint(0, 256, (6, 6, 3), dtype=torch.uint8).numpy()) for _ in range(count)]


IMAGES = pictures(7)


class ReachingBridge(Words, WholeBridge):
    """A bridge with words that knows which tensors each pass needs."""


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_a_batch_gives_what_its_rows_give_alone(batch_size):
    whole, alone = model(batch_size), model(1)
    texts = (TEXTS * 2)[:7]
    matched = [alone.match([i], [t]) for i, t in zip(IMAGES, texts, strict=True)]
    assert_close(whole.match(IMAGES, texts), tuple(map(torch.cat, zip(*matched, strict=True))))
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


def test_a_folder_is_its_images_by_name(tmp_path):
    for name, image in zip(("b.png", "a.JPG", "c.webp"), IMAGES, strict=False):
        image.save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("no image")
    asked = model()
    rows = asked.embed_images([IMAGES[1], IMAGES[0], IMAGES[2]])
    for images in (tmp_path, str(tmp_path), iter(sorted(tmp_path.glob("*.[Jpw]*")))):
        assert_close(asked.embed_images(images), rows)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((4, 6, 3), 51, np.uint8), (51, 51, 51)),
        (np.full((4, 6), 51, np.uint8), (51, 51, 51)),
        (np.full((4, 6, 1), 0.2), (51, 51, 51)),
        (np.stack([np.full((4, 6), value, np.float32) for value in (0, 0.2, 1)], -1), (0, 51, 255)),
        (np.arange(4 * 12 * 3, dtype=np.uint8).reshape(4, 12, 3)[:, ::-2], (33, 34, 35)),
    ],
)
def test_arrays_are_pictures(array, expected):
    picture = decode(array)
    assert picture.size == (6, 4) and picture.getpixel((0, 0)) == expected
    batch = np.stack([np.asarray(image) for image in IMAGES])
    assert_close(model().embed_images(batch), model().embed_images(IMAGES))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"shape \[3, 8, 8\], uint8"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \[0, 8, 3\]"),
        (np.zeros(8, np.uint8), r"shape \[8\]"),
        (np.zeros((8, 8), np.int64), "int64"),
        (np.full((8, 8), 1.5), "from 1.5 to 1.5"),
        (np.full((8, 8), np.nan), "from nan"),
        (torch.zeros(3, 8, 8), "not a Tensor"),
        ("https://example.org/cat.jpg", "URL, and nothing is ever downloaded"),
        ("data:image/png;base64,AAAA", "URL"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (Path(__file__).parent, "folder"),
        (b"GIF89a", "cannot be read"),
    ],
)
def test_what_is_no_image_is_named(image, said):
    with pytest.raises(UserError, match=said):
        model().caption([IMAGES[0], image])


def test_one_opened_picture_may_stand_in_many_rows(tmp_path):
    big = Image.effect_noise((700, 700), 90)
    big.save(tmp_path / "x.jpg")
    opened = Image.open(tmp_path / "x.jpg")
    rows = model(batch_size=32).embed_images([opened] * 32)
    assert_close(rows, rows[:1].expand_as(rows))


def test_match_is_one_softmax_of_the_bridges_logits():
    asked = model()
    bridged = asked.bridged
    pixels = torch.stack([bridged.vision_encoder.transform(False)(image) for image in IMAGES[:4]])
    with torch.no_grad():
        logits = bridged.bridge.match(bridged.bridge.encode_image(bridged.vision_encoder(pixels)), asked.tokens(TEXTS))
    shares = logits.double().exp()
    assert_close(asked.match(IMAGES[:4], TEXTS).itm.double(), shares[:, 1] / shares.sum(1), atol=1e-6, rtol=0)


def test_itc_is_the_cosine_of_similarity():
    asked = model()
    assert_close(asked.match(IMAGES[:4], TEXTS).itc, asked.similarity(IMAGES[:4], TEXTS).diag())


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
    pairs = asked.match([IMAGES[row] for row in rows], texts)
    assert_close(logits.softmax(-1)[:, 1], pairs.itm)
    assert_close(encoded.compare(rows, texts), pairs)


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


def test_a_prompt_for_each_image():
    asked = model()
    asked.caption(IMAGES[:3], ["x", "", "y z"])
    assert asked.bridged.language_model.asked == ["x", "", "y z"]
    alone = model(voice=False)
    kept, cut = alone.caption(IMAGES[:1] * 2, ["the", "a picture of"])
    assert kept == f"a picture of {cut}"


def test_one_question_of_every_image_and_prompts_that_are_asked_as_they_are():
    asked = model()
    said = asked.answer(IMAGES[:4], "What?")
    assert said == asked.answer(IMAGES[:4], ["what?"] * 4) == asked.answer(IMAGES[:4], prompt="Question: what? Answer:")
    assert set(asked.bridged.language_model.asked) == {"Question: what? Answer:"}


def test_images_go_to_their_own_places_and_are_encoded_once():
    asked, (a, b, c, d, *_) = model(batch_size=2), IMAGES
    one = {id(image): float(asked.caption([image])[0]) for image in IMAGES}
    asked.bridged.vision_encoder.images = 0
    rows = [[a, b, c], [d], [a, b], [c]]
    prompts = ["<image> x <image> y <image>", "z", "<image> <image>", "<image> w"]
    said = asked.complete(rows, prompts)
    expected = [sum(one[id(image)] * (place + 1) for place, image in enumerate(row)) for row in rows]
    assert [float(text) for text in said] == pytest.approx(expected, abs=1e-3)
    assert asked.bridged.vision_encoder.images == 4
    assert asked.answer([a, b, c], prompt=prompts[0]) == said[:1]
    assert asked.answer([a, b, c], "what?", "<image>x<image>{}<image>") == said[:1]
    assert asked.answer([a, b, c, d], ["v", "w"], "<image><image> {}") == asked.complete(
        [[a, b], [c, d]], ["<image>" * 2] * 2
    )


def test_candidates_are_ranked_and_the_likeliest_is_the_answer():
    asked, texts = model(), ["a", "bb", "a dozen of", "x" * 40]
    seen = [float(text) for text in asked.caption(IMAGES)]
    scores = asked.rank(IMAGES, "which?", texts)
    assert torch.tensor(scores) == pytest.approx(
        torch.tensor([[-abs(s - len(t)) for t in texts] for s in seen]), abs=1e-3
    )
    best = [texts[int(np.argmax(row))] for row in scores]
    assert asked.answer(IMAGES, "which?", candidates=texts) == best
    each = [texts[place % 3 :] for place in range(7)]
    assert asked.rank(IMAGES, None, each, prompt="say") == [row[place % 3 :] for place, row in enumerate(scores)]


def test_retrieve_gives_the_best_images_first(tmp_path):
    asked = model()
    cosines = asked.similarity(IMAGES, TEXTS)
    found = asked.retrieve(TEXTS, IMAGES, top=3)
    for column, row in zip(cosines.T, found, strict=True):
        assert [one.place for one in row] == column.argsort(descending=True)[:3].tolist()
        assert all(one.image is IMAGES[one.place] for one in row)
        assert [one.cosine for one in row] == pytest.approx(column.sort(descending=True).values[:3].tolist())
    IMAGES[0].save(tmp_path / "x.png")
    (((path, place, _),),) = asked.retrieve(["a"], tmp_path)
    assert (path, place) == (tmp_path / "x.png", 0)
    assert [one.place for one in asked.retrieve(["a"], [IMAGES[2]] * 4)[0]] == [0, 1, 2, 3]


class TestStream:
    def test_it_says_the_same_in_the_same_order_and_names_what_it_cannot_read(self):
        asked = model(batch_size=2)
        mixed = [IMAGES[0], b"no image", IMAGES[1], IMAGES[2], "nowhere.png", b"", IMAGES[3]]
        answered = list(asked.stream(iter(mixed), asked.caption))
        assert [one.image for one in answered] == mixed
        assert [one.value for one in answered if one.error is None] == asked.caption(IMAGES[:4])
        assert ["cannot be read" in str(one.error) for one in answered] == [0, 1, 0, 0, 1, 1, 0]

    def test_any_function_of_a_batch_can_be_streamed(self, tmp_path):
        for place, image in enumerate(IMAGES):
            image.save(tmp_path / f"{place}.png")
        asked = model(batch_size=3)
        pairs = list(
            asked.stream(
                tmp_path, lambda some: asked.complete([[some[0], one] for one in some], ["<image>" * 2] * len(some))
            )
        )
        firsts = [IMAGES[place // 3 * 3] for place in range(7)]
        assert [pair.value for pair in pairs] == asked.complete(
            list(zip(firsts, IMAGES, strict=True)), ["<image>" * 2] * 7
        )
        with pytest.raises(UserError, match="2 answers for 3 images"):
            list(asked.stream(tmp_path, lambda some: some[:2]))

    def test_a_thousand_images_are_never_in_memory_together(self):
        """The source is read a few batches ahead of the answers, and earlier pictures are gone."""
        asked, alive, most, given = model(batch_size=8), set(), 0, 0

        class Tracked(Image.Image):
            def __del__(self):
                alive.discard(id(self))

        def source():
            nonlocal given
            for _ in range(1000):
                picture = IMAGES[given % 7].copy()
                picture.__class__ = Tracked
                alive.add(id(picture))
                given += 1
                yield picture
                del picture

        for done, one in enumerate(asked.stream(source(), asked.caption)):
            assert given - done <= 3 * 8
            most = max(most, len(alive))
            del one
        assert done == 999 and 8 <= most <= 3 * 8 + 1

    def test_the_next_batch_is_decoded_while_the_model_computes(self):
        asked, decoding, waited = model(batch_size=1), threading.Event(), []
        transform = asked.bridged.vision_encoder.transform(False)

        def slow(picture):
            if picture.size == (9, 9):
                decoding.set()
            return transform(picture)

        asked.__dict__["_transform"] = slow

        def ask(images):
            waited.append(decoding.wait(5))
            return asked.caption(images)

        list(asked.stream([IMAGES[0], Image.new("RGB", (9, 9))], ask))
        assert waited == [True, True]

    def test_whoever_stops_early_is_not_kept_waiting(self):
        asked, before = model(batch_size=4), threading.active_count()
        stream = asked.stream([IMAGES[0]] * 400, asked.caption)
        next(stream)
        stream.close()
        assert threading.active_count() == before

    def test_a_bug_is_no_unreadable_image(self):
        asked = model()
        asked.__dict__["_transform"] = lambda picture: 1 / 0
        with pytest.raises(ZeroDivisionError):
            list(asked.stream(IMAGES, asked.caption))


class TestLearned:
    """What nobody has trained is refused."""

    @staticmethod
    def without(*names, **options):
        asked = model(bridge=ReachingBridge, **options)
        asked.bridged.learned -= {name for name in asked.bridged.learned if name.startswith(names)}
        return asked

    def test_the_matching_head(self):
        asked = self.without("bridge.match_head")
        for ask in (asked.match, lambda images, texts: asked.encode(images).compare(torch.tensor([0]), texts)):
            with pytest.raises(UserError, match=r"has not learned to match.*2 of its tensors.*match_head"):
                ask(IMAGES[:1], ["a"])
        # An evaluation inside a run without ITM measures what there is.
        assert asked.encode(IMAGES[:1]).match(torch.tensor([0]), ["a"]).shape == (1, 2)
        assert asked.similarity(IMAGES[:1], ["a"]).shape == (1, 1) and asked.caption(IMAGES[:1])

    def test_the_text_half(self):
        asked = self.without("bridge.words")
        for ask in (asked.embed_texts, asked.embed_images, asked.encode(IMAGES[:1]).embed):
            with pytest.raises(UserError, match=r"compare images with texts.*words"):
                ask(*[["a"]] * (ask.__name__ != "embed"))
        assert asked.caption(IMAGES[:1])

    def test_the_bridges_own_words(self):
        with pytest.raises(UserError, match=r"has not learned to write.*start"):
            self.without("bridge.start", voice=False).caption(IMAGES[:1])

    def test_the_temperature_is_needed_only_by_who_asks_for_it(self):
        asked = self.without("bridge.temp")
        assert asked.match(IMAGES[:1], ["a"]).itc.shape == (1,)
        with pytest.raises(UserError, match="temperature"):
            asked.temperature  # noqa: B018
        assert model().temperature == pytest.approx(0.2)


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
    assert len(asked.match([], []).itm) == len(asked.embed_images([])) == len(asked.embed_texts([])) == 0
    assert asked.complete([], []) == asked.rank([], [], ["a"]) == list(asked.stream([], asked.caption)) == []
    assert asked.similarity([], ["a"]).shape == (0, 1) and asked.retrieve(["a"], []) == [[]]
    assert asked.encode([]).compare(torch.tensor([], dtype=torch.long), []).itc.shape == (0,)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: model().caption("cat.png"), "not as a list"),
        (lambda: model().caption(IMAGES[0]), "not as a list"),
        (lambda: model().match(IMAGES[:2], "ab"), "not as a list"),
        (lambda: model().match(IMAGES[:2], ["a"]), "2 images and 1 texts"),
        (lambda: model().answer(IMAGES[:1], ["a"], prompt="Question: Answer:"), "no place for the question"),
        (lambda: model().answer(IMAGES[:2]), "no question for its {}"),
        (lambda: model().answer(IMAGES[:2], ["a"]), "2 images and 1 prompts"),
        (lambda: model().answer(IMAGES[:2], ["a", "b"], ["{}"]), "2 questions and 1 prompts"),
        (lambda: model().answer(IMAGES[:2], prompt="<image> a"), "images given: 2, places for them: 1"),
        (lambda: model().answer(IMAGES[:2], prompt="<image>" * 3), "'<image><image><image>'.*given: 2, .* 3"),
        (lambda: model().caption(IMAGES[:2], "<image> <image>"), "given: 2, places for them: 4"),
        (lambda: model().caption(IMAGES[:2], ["a"]), "2 images and 1 prompts"),
        (lambda: model().complete([IMAGES[:2], IMAGES[:2]], ["<image><image>", "b"]), "'b'.*given: 2, places.* 1"),
        (lambda: model().complete([IMAGES[:1], IMAGES[:3]], ["<image><image>"] * 2), "given: 1, places.* 2"),
        (lambda: model().complete([[]], ["a"]), "given: 0, places.* 1"),
        (lambda: model().complete(IMAGES[:1], ["a"]), "not as a list"),
        (lambda: model().complete([IMAGES[:1]], ["a", "b"]), "1 images and 2 prompts"),
        (lambda: model().rank(IMAGES[:1], "a", "red"), "candidates are given as one str"),
        (lambda: model().rank(IMAGES[:1], "a", []), "no candidates"),
        (lambda: model().rank(IMAGES[:2], "a", [["x"], []]), "no candidates"),
        (lambda: model().rank(IMAGES[:2], "a", [["x"]]), "1 rows, and 2 rows"),
        (lambda: model(writes=False).rank(IMAGES[:1], "a", ["x"]), "projection"),
        (lambda: model().caption(np.zeros((4, 4, 3))), "one ndarray"),
        (lambda: model().stream("cat.png", len).__next__(), "not as a list"),
        (lambda: model().caption(["nowhere.png"]), "nowhere.png"),
        (lambda: model().caption([b"not an image"]), "cannot be read"),
        (lambda: model(voice=False).answer(IMAGES[:1], ["a"]), "no language model"),
        (lambda: model(writes=False).answer(IMAGES[:1], ["a"]), "projection"),
        (lambda: Model(BridgedModel(Eye(), Deaf())).match(IMAGES[:1], ["a"]), "no text"),
        (lambda: Model(BridgedModel(Eye(), Deaf())).caption(IMAGES[:1]), "no text"),
        (lambda: model(voice=False, bridge=ToyBridge).caption(IMAGES[:1]), "by itself"),
    ],
)
def test_mistakes_are_named(ask, said):
    with pytest.raises(UserError, match=said):
        ask()
