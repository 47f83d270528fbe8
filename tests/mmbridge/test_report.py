"""The report: everything that was measured is in it, whatever is missing, whatever the words are."""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmbridge_registry import UserError
from toys.made_up_run import CONFIG, Page, results, write_config, write_run

from mmbridge import report
from mmbridge.figures import duration, number
from mmbridge.report.axis import fitted, stepped
from mmbridge.report.curves import POINTS, panels

HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "a run")


def page(run):
    return Page(report.write(run.path).read_text())


def test_every_metric_stands_beside_chance_and_ceiling(run):
    shown = page(run)
    for key, result in results().items():
        metric = key.rsplit("/", 1)[1].replace("_", " ").replace("r1", "R@1")
        place = shown.texts.index(metric)
        row = [text for text in shown.texts[place + 1 : place + 14] if text][:4]
        expected = ["–" if result[name] is None else f"{result[name]:.3f}" for name in ("value", "chance", "ceiling")]
        assert row == [*expected, "256"]


def test_every_logged_quantity_has_a_panel(run):
    titles = [svg["aria-label"].split(":")[0] for svg in page(run).of("svg") if "340" in svg.get("viewbox", "")]
    machine = ["learning rate", "gradient norm", "samples per second", "share of time waiting for data"]
    assert titles == ["loss", "itc", "itm", "itm · accuracy", *machine, "loss", "itm · accuracy", *machine]


def test_examples_say_in_words_whether_they_are_right(run):
    shown = page(run)
    assert shown.texts.count("✓ right") == 3 + 3 + 1
    assert shown.texts.count("✗ wrong") == 1 + 1 + 1
    assert "(nothing)" in shown.texts
    assert "after generation: 1 of these 2 right" in shown.texts


def test_the_page_needs_nothing_else(run):
    shown = page(run)
    html = run.report.read_text()
    assert not shown.of("script") and not shown.of("link") and "url(" not in html and "@import" not in html
    assert all(image["src"].startswith("data:image/") for image in shown.of("img"))
    assert all(image["href"].startswith("data:image/") for image in shown.of("image"))
    assert "default-src 'none'" in shown.of("meta")[2]["content"]


def test_the_page_can_be_read_without_eyes(run):
    shown = page(run)
    assert shown.headings[0] == 1 and shown.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(shown.headings, shown.headings[1:], strict=False))
    assert all(image["alt"] for image in shown.of("img"))
    assert all(svg.get("aria-hidden") or (svg["role"] == "img" and svg["aria-label"]) for svg in shown.of("svg"))
    assert shown.of("html")[0]["lang"] == "en"


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_of_wcag_aa_in_light_and_dark(run):
    page(run)
    schemes = re.findall(r"--page: (#\w{6}).*?--plate: (#\w{6});(.*?)\}", run.report.read_text(), re.DOTALL)
    assert len(schemes) == 2
    for page_colour, plate, rest in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6});", rest))
        darkest, lightest = sorted((luminance(colours["ink"]), luminance(colours["hot"])))
        assert (lightest + 0.05) / (darkest + 0.05) >= 4.5  # numbers in the heat map
        for name in ("ink", "muted", "frozen", "trained", "right", "wrong"):
            for ground in (page_colour, plate):
                dark, light = sorted((luminance(colours[name]), luminance(ground)))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_other_peoples_words_stay_words(run):
    write_config(run.path, CONFIG.replace("clip_vit", json.dumps(HOSTILE)))
    hostile = {"question": HOSTILE, "truth": HOSTILE, "output": HOSTILE, "correct": False, "image": "000.png"}
    (run.samples("generation", "answers") / "examples.json").write_text(json.dumps([hostile]))
    run.quarantine.write_text(json.dumps({"reason": HOSTILE}) + "\n")
    made = results() | {f"generation/answers/{HOSTILE.replace('/', '')}": results()["generation/answers/accuracy"]}
    run.evaluation.write_text(json.dumps(made))
    line = {"stage": "generation", "step": 900, "loss": 1.0, HOSTILE: 2.0}
    run.metrics.write_text(run.metrics.read_text() + json.dumps(line))
    run.lock.write_text(json.dumps({"seed": HOSTILE, "packages": {HOSTILE: HOSTILE}, "plugins": {HOSTILE: HOSTILE}}))
    shown = page(run)
    assert "<script" not in run.report.read_text()
    assert not shown.of("script")
    assert shown.texts.count(HOSTILE) >= 6


@pytest.mark.parametrize("missing", ["lock", "metrics", "evaluation", "quarantine", "config"])
def test_it_is_made_from_whatever_is_there(run, missing):
    getattr(run, missing).unlink()
    page(run)


def test_a_run_that_has_only_begun(tmp_path):
    shown = page(write_config(tmp_path))
    assert any("Nothing trained yet" in text for text in shown.texts)
    assert shown.texts.count("No step of this stage was logged.") == 2


def test_a_model_without_a_language_model_or_queries(tmp_path):
    text = re.sub(r"  language_model.*\n", "", CONFIG).replace(", queries: 8", "")
    shown = page(write_config(tmp_path, text))
    assert "language model" not in shown.texts
    assert "missing" in shown.classes()


def test_steps_left_out_and_values_not_finite_are_told(run):
    lines = [{"stage": "generation", "step": 5, "skipped": "gradient not finite", "positions": [1]},
             {"stage": "generation", "step": 810, "loss": float("nan"), "grad_norm": float("inf")}]  # fmt: skip
    run.metrics.write_text(run.metrics.read_text() + "".join(json.dumps(line) + "\n" for line in lines))
    shown = page(run)
    assert any("1 steps left out" in text for text in shown.texts)
    assert shown.texts.count("(1 values not finite)") == 2


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        report.write(tmp_path)


def test_time_is_counted_over_all_steps(run):
    assert any(f"Trained for {duration(0.25 * 1400)}" in text for text in page(run).texts)


def test_thousands_of_points_are_averaged_and_their_range_is_kept():
    rng = random.Random(1)
    lines = [{"step": step, "loss": rng.random()} for step in range(1, 25_001)]
    [panel] = panels({"a run": lines})
    [curve] = panel.curves
    assert len(curve.line.split()) <= POINTS
    downs = [float(point.split(",")[1]) for point in curve.band.split()]
    values = [line["loss"] for line in lines]
    axis = fitted(values)
    place = lambda value: 156 - axis.place(value) * 148  # noqa: E731
    assert min(downs) == pytest.approx(place(max(values)), abs=0.1)
    assert max(downs) == pytest.approx(place(min(values)), abs=0.1)


@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=20), st.booleans())
def test_axes_hold_their_values(values, from_zero):
    axis = fitted(values, from_zero)
    places = [axis.place(value) for value in (*values, *axis.ticks)]
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in places)
    assert 2 <= len(axis.ticks) <= 9
    assert sorted(set(axis.ticks)) == list(axis.ticks)


@given(st.integers(1, 10**7))
def test_step_axes_end_with_the_last_step(last):
    axis = stepped(last)
    assert axis.place(last) == 1 and axis.ticks[0] == 0 and axis.ticks[-1] <= last * (1 + 1e-9)
    assert 2 <= len(axis.ticks) <= 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (2e-4, "2e-4"), (0.002, "0.002"), (1.5, "1.5"), (600, "600"), (0.93456, "0.935"), (12345, "1.23e4"),
     (-3.14159, "-3.14"), (None, "–"), (float("nan"), "–"), (250.4, "250"), (0.99999, "1")],
)  # fmt: skip
def test_numbers_read_well(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(9.6, "10 s"), (350, "5 min 50 s"), (3600, "1 h"), (93600, "1 d 2 h")])
def test_durations_read_well(seconds, shown):
    assert duration(seconds) == shown
