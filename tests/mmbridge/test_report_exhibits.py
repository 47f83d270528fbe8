"""What the report shows beside numbers: examples, searches, score matrices, attention, the data mix, the lock."""

import base64
import json
import random
import re
from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import UserError
from PIL import Image
from toys.made_up_run import COLOURS, Page, results, write_attention, write_config, write_run

from mmbridge import report
from mmbridge.report.attention import attentions, spread
from mmbridge.report.mixture import mixtures
from mmbridge.report.reading import read
from mmbridge.report.searches import retrievals


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "a run")


def page(run):
    return Page(report.write(run.path).read_text())


def test_examples_are_shelved_by_why_they_were_picked(run):
    shown = page(run).texts
    places = [shown.index(title) for title in ("best by score", "worst by score", "drawn at random")]
    scores = [shown.index(f"score {score}") for score in ("0.97", "0.125", "0.5")]
    assert sorted(places + scores) == [place for pair in zip(places, scores, strict=True) for place in pair]


def test_an_example_without_its_picture_is_left_out(run):
    folder = run.samples("generation", "answers")
    (folder / "000.png").unlink()
    (folder / "001.png").write_bytes(b"no picture")
    assert "after generation: 0 of these 0 right" not in page(run).texts
    assert page(run).texts.count("✓ right") == 3 + 3


def test_a_listing_that_cannot_be_read_is_named(run):
    (run.samples("generation", "answers") / "examples.json").write_text("[{")
    with pytest.raises(UserError, match="not readable") as raised:
        report.write(run.path)
    assert "answers/examples.json" in str(raised.value.where)


def test_searches_mark_the_right_image_in_words(run):
    shown = page(run)
    [retrieval] = retrievals(read(run.path))
    assert [search.place for search in retrieval.searches] == [2, None]
    assert shown.texts.count("✓ own") == 1
    assert shown.texts.count("Its own image is not among these.") == 1
    assert [image["alt"] for image in shown.of("img")].count("place 2, its own image") == 1


def test_the_heat_map_has_a_text_in_every_column_head(run):
    [retrieval] = retrievals(read(run.path))
    cells = [cell for _, row in retrieval.heat.rows for cell in row]
    assert retrieval.heat.scale == (0, 1) and all(cell.heat == pytest.approx(100 * cell.score) for cell in cells)
    assert [cell.score for cell in cells if cell.best] == [0.9, 0.8, 0.6]
    shown = page(run)
    html = run.report.read_text()
    heads = re.findall(r'<th scope="col"><b aria-hidden="true">(\w)</b><span class="unseen">(.*?)</span>', html)
    assert heads == [(letter, f"a {colour} thing") for letter, colour in zip("ABC", COLOURS, strict=False)]
    assert [image["alt"] for image in shown.of("img")].count("image of text C") == 1
    assert html.count('class="own"') == 3


@pytest.mark.parametrize(
    ("scores", "scale", "heat"),
    [([[-2.0, 3.0], [0.5, 1.0]], (-2, 3), [0, 100, 50, 60]), ([[2.0, 2.0], [2.0, 2.0]], (2, 2), [0, 0, 0, 0])],
)
def test_scores_that_are_no_probabilities_are_coloured_from_the_lowest_to_the_highest(run, scores, scale, heat):
    listing = run.samples("representation", "retrieval") / "heatmap.json"
    listing.write_text(json.dumps(json.loads(listing.read_text()) | {"scores": scores}))
    [retrieval] = retrievals(read(run.path))
    assert retrieval.heat.scale == scale
    assert [cell.heat for _, row in retrieval.heat.rows for cell in row] == heat
    page(run)


def alphas(source):
    return Image.open(BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGBA").getchannel("A")


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_a_veil_is_clear_where_the_query_looks_and_dense_where_not(tmp_path_factory, height, width, data):
    place = data.draw(st.integers(0, height * width - 1))
    run = write_config(tmp_path_factory.mktemp("run"))
    folder = run.samples("generation", "attention")
    write_attention(folder, queries=1, layers=(1,), images=1)
    [item] = json.loads((folder / "attention.json").read_text())
    weights = [0.7 if patch == place else 0.0 for patch in range(height * width)]
    (folder / "attention.json").write_text(json.dumps([item | {"grid": [height, width], "weights": [[weights]]}]))
    [attention] = attentions(read(run.path))
    veil = attention.looks[0].veils[0][1]
    row, column = divmod(place, width)
    assert f"row {row + 1} of {height}, column {column + 1} of {width}: 70%" in veil.alt
    patches = list(alphas(veil.source).resize((width, height), Image.Resampling.BOX).tobytes())
    assert min(range(height * width), key=patches.__getitem__) == place
    assert max(patches) > 150


def test_every_layer_and_query_can_be_chosen_and_one_of_each_is(run):
    shown = page(run)
    html = run.report.read_text()
    radios = [field for field in shown.of("input") if field["type"] == "radio"]
    chosen = [(field["name"], field["aria-label"]) for field in radios if "checked" in field]
    assert len(radios) == 2 * (2 + 4)
    assert chosen == [(f"{kind}-{number}", what) for number in (0, 1)
                      for kind, what in (("layer", "layer 3"), ("query", "all queries"))]  # fmt: skip
    for field in radios:
        assert html.count(f"#{field['id']}:checked") == 1
    assert len(shown.of("use")) == 2 * 2 * 2 * 4


@pytest.mark.parametrize(
    ("told", "alt"),
    [({}, "row 2 of 4, column 2 of 4: 75%"), ({"mean": [[0.0] * 15 + [0.6]] * 2}, "row 4 of 4, column 4 of 4: 60%")],
)
def test_all_queries_together_are_the_mean_told_or_that_of_those_told(run, told, alt):
    folder = run.samples("generation", "attention")
    item = json.loads((folder / "attention.json").read_text())[0]
    maps = [[0.0] * 16 for _ in range(4)]
    for place, one in zip((5, 5, 5, 9), maps, strict=True):
        one[place] = 1.0
    made = item | {"queries": [0, 1, 2, 3], "weights": [maps, maps]} | told
    (folder / "attention.json").write_text(json.dumps([made]))
    first = attentions(read(run.path))[0].looks[0].veils[0][0]
    assert first.alt == f"all queries of layer 1: most at {alt} of its weight"


@given(st.integers(1, 60), st.integers(1, 60))
def test_layers_are_chosen_evenly_and_the_last_always(length, most):
    places = spread(length, most)
    assert places == sorted(set(places)) and places[-1] == length - 1 and len(places) == min(length, most)
    gaps = [after - before for before, after in pairwise(places)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_large_models_page_stays_small(tmp_path):
    run = write_config(tmp_path)
    write_attention(run.samples("generation", "attention"), side=16, layers=range(6), queries=32, images=6)
    folder = run.samples("generation", "captions")
    folder.mkdir()
    rows = []
    for place in range(12):
        noise = Image.frombytes("RGB", (48, 36), random.Random(place).randbytes(48 * 36 * 3))
        noise.resize((384, 288), Image.Resampling.BICUBIC).save(folder / f"{place:03d}.png")
        rows.append({"image": f"{place:03d}.png", "question": None, "truth": "a", "output": "b", "correct": None})
    (folder / "examples.json").write_text(json.dumps(rows))
    assert report.write(run.path).stat().st_size < 1_500_000


def test_the_mix_of_every_stage_adds_up(run):
    text = run.resolved.read_text().replace("steps: 600,", "steps: 600, data: {captions: 2},")
    run.resolved.write_text(text)
    run.lock.write_text(json.dumps({"data": {"captions": {"records": 19200, "contents": {"a.json": "sha256 a"}}}}))
    mixes = mixtures(read(run.path))
    [only] = mixes["representation"]
    assert (only.name, only.share, only.read, only.rounds) == ("captions", 1, 600 * 64, 2)
    captions, questions = mixes["generation"]
    assert (captions.share, questions.share) == (0.7, 0.3)
    assert captions.read + questions.read == 800 * 64
    assert questions.records is None and questions.rounds is None
    shown = page(run).texts
    assert {"70 %", "30 %", "100 %", "data.contents.a.json"} & set(shown) == {"70 %", "30 %", "100 %"}
    assert "captions.contents.a.json" in shown and "sha256 a" in shown


def test_why_samples_were_not_used_is_told_by_data_set(run):
    lines = [{"dataset": "captions", "name": str(n), "reason": "the file is empty"} for n in range(3)]
    run.quarantine.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = page(run).texts
    place = shown.index("the file is empty")
    assert [text for text in shown[place - 3 : place + 3] if text] == ["captions", "the file is empty", "3"]


def test_a_value_stands_beside_the_papers_and_says_how_far_off_it_is(run):
    expected = {"value": 1.458, "tolerance": 0.02, "source": "table 3", "model": "ViT-g OPT-2.7B"}
    card = {"name": "coco_caption", "version": 2, "deviations": ["images of 224 px"]}
    entry = {"value": 1.45, "chance": 0.1, "shuffled": 0.125, "ceiling": None, "interval": [1.4, 1.5], "n": 5000,
             "protocol": "COCO", "expected": expected, "card": card}  # fmt: skip
    made = results() | {
        "generation/coco/CIDEr": entry,
        "generation/coco/BLEU_4": entry | {"value": 1.4},
        "generation/coco/perplexity": entry | {"expected": None, "less_is_better": True},
    }
    run.evaluation.write_text(json.dumps(made))
    shown = page(run)
    text = " ".join(shown.texts)
    assert "1.458 ± 0.02 within tolerance" in text and "1.458 ± 0.02 −0.058" in text
    assert "0.125" in text and "images shuffled" in text and "1.400 to 1.500" in text
    assert "Paper: table 3, ViT-g OPT-2.7B." in text and "images of 224 px" in text and "version 2" in text
    assert shown.texts.count("less is better") == 1


@pytest.mark.parametrize(("less_is_better", "values"), [(False, (0.2, 0.3, 0.4)), (True, (0.4, 0.3, 0.2))])
def test_a_value_worse_than_chance_does_not_look_like_something_learned(run, less_is_better, values):
    entry = {"chance": 0.3, "n": 9, "less_is_better": less_is_better}
    run.evaluation.write_text(
        json.dumps({f"generation/one/metric_{place}": entry | {"value": value} for place, value in enumerate(values)})
    )
    assert page(run).classes().count("worse") == 1


def test_numbers_that_no_evaluation_has_take_no_column(run):
    columns = [cell.get("class") for cell in page(run).of("th")]
    assert "ceiling" in columns and not {"shuffled", "expected", "interval"} & set(columns)


def test_links_lead_somewhere_and_names_are_given_once(run):
    shown = page(run)
    names = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes in shown.tags:
        led = [
            attributes.get("for"),
            attributes.get("aria-labelledby"),
            (attributes.get("href") or "").partition("#")[2],
        ]
        assert all(name in names for name in led if name and not (attributes.get("href") or "").startswith("data:"))
    assert [tag for tag, _ in shown.tags if tag in ("header", "nav", "main", "footer")] == [
        "header",
        "nav",
        "main",
        "footer",
    ]


def test_tables_say_what_their_heads_head(run):
    shown = page(run)
    assert all(cell.get("scope") in ("row", "col") for cell in shown.of("th"))
    assert len(shown.of("caption")) == len(shown.of("table"))
