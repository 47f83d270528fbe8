"""What an evaluation shows, as files: every key that the page reads, every image once."""

import json
from io import BytesIO

import pytest
from mmbridge_registry import Evaluated, Example, Found, Heatmap, Metric
from PIL import Image

from mmbridge.exhibits import write_exhibits


def picture(red, side=8):
    return Image.new("RGB", (side, side // 2), (red, 0, 0))


def in_bytes(image):
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def evaluated(**shown):
    return Evaluated({"count": Metric(1, 1)}, "counted", **shown)


def listing(folder, name):
    return json.loads((folder / name).read_text())


def test_searches_and_scores_are_written_beside_examples(tmp_path):
    examples = [Example(picture(1), "one", "two", "what?", False, 0.25, "worst"), Example(picture(2, 1000), "a", "b")]
    found = [Found("one", [picture(2), picture(1)], (0.9, 0.1), [True, False]), Found("two", [picture(3)], [1], [True])]
    heatmap = Heatmap([picture(4), picture(5)], ["four", "five"], [[1.0, 0.5], [0.25, 0.0]], "a probability")
    write_exhibits(evaluated(examples=examples, found=found, heatmap=heatmap), tmp_path / "shown")
    said = {"truth": "one", "output": "two", "question": "what?", "correct": False, "score": 0.25, "picked": "worst"}
    plain = {"truth": "a", "output": "b", "question": None, "correct": None, "score": None, "picked": "random"}
    assert listing(tmp_path / "shown", "examples.json") == [{"image": "000.png"} | said, {"image": "001.png"} | plain]
    assert listing(tmp_path / "shown", "found.json") == [
        {"text": "one", "images": ["found-00-0.png", "000.png"], "scores": [0.9, 0.1], "right": [True, False]},
        {"text": "two", "images": ["found-01-0.png"], "scores": [1], "right": [True]},
    ]
    assert listing(tmp_path / "shown", "heatmap.json") == {
        "images": ["heatmap-0.png", "heatmap-1.png"],
        "texts": ["four", "five"],
        "scores": [[1.0, 0.5], [0.25, 0.0]],
        "meaning": "a probability",
    }
    assert Image.open(tmp_path / "shown" / "001.png").size == (384, 192)
    assert Image.open(tmp_path / "shown" / "found-00-0.png").getpixel((0, 0)) == (2, 0, 0)


@pytest.mark.parametrize("given", [picture, lambda red: in_bytes(picture(red))])
def test_one_image_is_one_file_however_it_is_given(given, tmp_path):
    found = [Found("one", [given(1), picture(2), given(1)], [3, 2, 1], [True] * 3)]
    examples = [Example(given(1), "", ""), Example(given(3), "", "")]
    write_exhibits(evaluated(examples=examples, found=found), tmp_path)
    assert [one["image"] for one in listing(tmp_path, "examples.json")] == ["000.png", "001.png"]
    assert listing(tmp_path, "found.json")[0]["images"] == ["000.png", "found-00-1.png", "000.png"]
    assert {file.name for file in tmp_path.glob("*.png")} == {"000.png", "001.png", "found-00-1.png"}


def test_what_stood_there_before_is_gone(tmp_path):
    heatmap = Heatmap([picture(1)], ["one"], [[1.0]], "a probability")
    write_exhibits(evaluated(found=[Found("one", [picture(1)], [1], [True])], heatmap=heatmap), tmp_path)
    write_exhibits(evaluated(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["examples.json"]
