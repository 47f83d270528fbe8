"""A run as its files tell it, made up, and a reader of the page that reports it."""

import json
import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image, ImageDraw

from mmbridge.run_directory import RunDirectory

CONFIG = """\
model:
  vision_encoder: {name: clip_vit, weights: tiny/vit}
  bridge: {name: qformer, init: tiny/bert, queries: 8}
  language_model: {name: flan_t5, weights: tiny/t5}
data:
  captions: {name: tiny_world, split: train, weight: 0.7}
  questions: {name: tiny_world, split: train, weight: 0.3}
stages:
  representation: {train: [bridge], objectives: {itc: {name: itc}, itm: {name: itm}}, steps: 600, batch_size: 64}
  generation: {train: [bridge, projection], objectives: {prefix_lm: {}}, steps: 800, batch_size: 64}
"""
CHOSEN = [
    {"picked": "best", "score": 0.97},
    {"picked": "best", "score": 0.91},
    {"picked": "worst", "score": 0.125},
    {"picked": "random", "score": 0.5},
]
COLOURS = ("red", "blue", "green", "orange", "black")


def write_config(folder: Path, text: str = CONFIG) -> RunDirectory:
    """Begin a run by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(folder)
    run.config.write_text(text)
    run.resolved.write_text(text)
    return run


def write_run(folder: Path) -> RunDirectory:
    """A whole run, made up."""
    run = write_config(folder)
    run.lock.write_text(json.dumps({"seed": 0, "python": "3.11.9", "packages": {"mmbridge": "0.1.0", "torch": "2.15"},
                                    "plugins": {"clip": "mmbridge 0.1.0"}}))  # fmt: skip
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in metrics()))
    run.evaluation.write_text(json.dumps(results()))
    for stage, evaluation, rows in (
        ("representation", "retrieval", captions()),
        (
            "generation",
            "captions",
            ((colour, said | chosen) for (colour, said), chosen in zip(captions(), CHOSEN, strict=True)),
        ),
        ("generation", "answers", answers()),
    ):
        write_samples(run.samples(stage, evaluation), rows)
    write_searches(run.samples("representation", "retrieval"))
    for stage in ("representation", "generation"):
        write_attention(run.samples(stage, "attention"))
    bad = {"dataset": "captions", "name": "train 0/17", "reason": "the file is empty", "position": 3}
    run.quarantine.write_text(json.dumps(bad) + "\n" + '{"cut sho')
    return run


def metrics():
    """Curves that look like curves."""
    rng = random.Random(0)
    for stage, steps, terms in (("representation", 600, {"itc": 8.4, "itm": 0.69}), ("generation", 800, {"lm": 6.0})):
        for step in range(10, steps + 1, 10):
            losses = {
                name: top * (0.15 + math.exp(-step / 150)) + rng.gauss(0, 0.02 * top) for name, top in terms.items()
            }
            yield {
                "stage": stage, "step": step, "samples": step * 64, "loss": sum(losses.values()), **losses,
                "itm/accuracy": 1 - 0.4 * math.exp(-step / 150), "lr": 2e-3 * min(step / 50, 1 - step / steps * 0.9),
                "grad_norm": 3 * math.exp(rng.gauss(0, 0.4)), "seconds": 0.25, "samples_per_second": rng.gauss(250, 9),
                "data_wait": abs(rng.gauss(0.02, 0.02)),
            }  # fmt: skip


def results():
    """Metrics of three evaluations."""
    chance = 1 / 256
    rows = {
        "representation/retrieval": {
            "itc_image_to_text_r1": (0.93, chance, None),
            "image_to_text_r1": (0.94, chance, None),
            "text_to_image_r1": (0.95, chance, None),
            "itm_accuracy": (0.96, 0.5, None),
        },
        "generation/captions": {"attributes": (0.912, 0.31, 0.99), "exact": (0.621, 0.0031, 0.97)},
        "generation/answers": {"accuracy": (0.843, 0.417, 0.992)},
    }
    return {
        f"{group}/{metric}": {
            "value": value,
            "chance": chance,
            "ceiling": ceiling,
            "n": 256,
            "protocol": f"how {group}",
        }
        for group, metrics in rows.items()
        for metric, (value, chance, ceiling) in metrics.items()
    }


def captions():
    rows = [
        ("red", "square", "red"),
        ("blue", "circle", "blue"),
        ("green", "triangle", "yellow"),
        ("orange", "circle", "orange"),
    ]
    for colour, shape, said in rows:
        caption = f"a picture of a big {{}} {shape} on a plain background"
        yield (
            colour,
            {
                "question": None,
                "truth": caption.format(colour),
                "output": caption.format(said),
                "correct": colour == said,
            },
        )


def picked():
    for (colour, said), chosen in zip(captions(), CHOSEN, strict=True):
        yield colour, said | chosen


def answers():
    for colour, said in (("red", "red"), ("blue", "red")):
        yield (
            colour,
            {"question": "what colour is the square?", "truth": colour, "output": said, "correct": colour == said},
        )
    yield "black", {"question": "how many?", "truth": "2", "output": "", "correct": None}


def write_samples(folder: Path, rows):
    folder.mkdir(parents=True)
    listed = []
    for place, (colour, said) in enumerate(rows):
        draw(folder / f"{place:03d}.png", colour)
        listed.append({"image": f"{place:03d}.png", **said})
    (folder / "examples.json").write_text(json.dumps(listed))


def draw(path: Path, colour: str):
    image = Image.new("RGB", (64, 64), "#d8d2c4")
    ImageDraw.Draw(image).rectangle((14, 14, 44, 44), colour)
    image.save(path)


def write_searches(folder: Path):
    """Two texts with the images found, and scores of three images against three texts."""
    found = []
    for place, right in enumerate((1, None)):
        names = [f"found-{place:02d}-{number}.png" for number in range(5)]
        for name, colour in zip(names, COLOURS, strict=True):
            draw(folder / name, colour)
        scores = [4.5, 4.25, 0.5, 0.25, -1]
        rights = [number == right for number in range(5)]
        found.append({"text": f"a {COLOURS[place]} thing", "images": names, "scores": scores, "right": rights})
    (folder / "found.json").write_text(json.dumps(found))
    names = [f"heat-{number}.png" for number in range(3)]
    for name, colour in zip(names, COLOURS, strict=False):
        draw(folder / name, colour)
    scores = [[0.9, 0.1, 0.2], [0.3, 0.8, 0.05], [0.6, 0.4, 0.5]]
    texts = [f"a {colour} thing" for colour in COLOURS[:3]]
    entry = {"images": names, "texts": texts, "scores": scores, "meaning": "ITM probability"}
    (folder / "heatmap.json").write_text(json.dumps(entry))


def write_attention(folder: Path, side=4, layers=(1, 3), queries=3, images=2):
    """Queries that look at one patch each, and a little at all others."""
    folder.mkdir(parents=True)
    listed = []
    for image in range(images):
        draw(folder / f"{image:03d}.png", COLOURS[image % len(COLOURS)])
        weights = [[one_patch(side, layer + query + image) for query in range(queries)] for layer in layers]
        listed.append({"image": f"{image:03d}.png", "grid": [side, side], "layers": list(layers),
                       "queries": list(range(queries)), "weights": weights})  # fmt: skip
    (folder / "attention.json").write_text(json.dumps(listed))


def one_patch(side, place):
    least = 0.2 / side**2
    weights = [least] * side**2
    weights[place % side**2] = 0.5
    return weights


class Page(HTMLParser):
    """Reads a page: its texts, its tags, and that every tag is closed in order."""

    VOID = {"meta", "img", "input", "path", "polygon", "polyline", "circle", "rect", "use", "image", "br"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts, self.headings = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def classes(self):
        return " ".join(attributes.get("class") or "" for _, attributes in self.tags)
