"""Two runs on one page: the same panels, the same rows, the same images, and what differs."""

import json
import re
from pathlib import Path

import pytest
from toys.made_up_run import Page, metrics, results, write_run
from typer.testing import CliRunner

from mmbridge.cli import build_app
from mmbridge.report import beside
from mmbridge.report.reading import read


@pytest.fixture
def runs(tmp_path):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other")
    other.resolved.write_text(other.resolved.read_text().replace("queries: 8", "queries: 16"))
    other.lock.write_text(other.lock.read_text().replace("2.15", "2.16"))
    return one, other


def page(runs):
    one, other = runs
    return Page(beside.write(one.path, other.path).read_text())


def with_results(run, **entries):
    made = {
        f"generation/coco/{metric}": {"chance": None, "ceiling": None, "n": 9} | entry
        for metric, entry in entries.items()
    }
    run.evaluation.write_text(json.dumps(made))


def test_results_stand_side_by_side_with_their_difference(runs):
    one, other = runs
    low, high = {"value": 0.2, "interval": [0.1, 0.3]}, {"value": 0.5, "interval": [0.4, 0.6]}
    with_results(one, a=high, b=high, c={"value": 0.5}, d=low, only=low)
    with_results(other, a={"value": 0.61, "interval": [0.6, 0.7]}, b=low, c=high, d=high, new=low)
    [(stage, evaluation, rows)] = beside.results(read(one.path), read(other.path))
    assert (stage, evaluation) == ("generation", "coco")
    assert [(row.metric, row.change, row.intervals) for row in rows] == [
        ("a", "+0.110", "overlap"),
        ("b", "−0.300", "apart"),
        ("c", "+0.000", ""),
        ("d", "+0.300", "apart"),
        ("only", "", ""),
        ("new", "", ""),
    ]
    shown = page(runs).texts
    assert "overlap" in shown and "apart" in shown and "−0.300" in shown


def test_bars_of_both_have_one_scale(runs):
    with_results(runs[0], cider={"value": 0.5})
    with_results(runs[1], cider={"value": 2.0})
    [(_, _, [row])] = beside.results(*map(read, (runs[0].path, runs[1].path)))
    assert (row.one.share(row.one.value), row.other.share(row.other.value)) == (25, 100)


def test_curves_of_both_share_panels_and_differ_without_colour(runs):
    one, other = runs
    other.metrics.write_text("".join(json.dumps(line | {"loss": line["loss"] * 2}) + "\n" for line in metrics()))
    shown = page(runs)
    loss = next(svg for svg in shown.of("svg") if svg.get("aria-label", "").startswith("loss"))
    assert re.search(r"loss: one: .*; other: ", loss["aria-label"])
    panels = [svg for svg in shown.of("svg") if svg.get("role") == "img"]
    assert len(shown.of("polyline")) == 2 * len(panels)
    assert len(shown.of("circle")) == len(shown.of("rect")) == len(panels)
    assert [group.get("class") for group in shown.of("g")] == [None, "second"] * len(panels)
    assert ".second .line { stroke-dasharray" in beside.write(one.path, other.path).read_text()


def test_a_stage_of_one_run_only_is_drawn(runs):
    one, other = runs
    lines = [line for line in metrics() if line["stage"] == "representation"]
    other.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn = beside.panels_of(read(one.path), read(other.path))
    assert list(drawn) == ["representation", "generation"]
    assert all(panel.curves[1] is None for panel in drawn["generation"])
    page(runs)


def test_configs_and_locks_are_compared_by_key(runs):
    shown = page(runs).texts
    place = shown.index("model.bridge.queries")
    assert [text for text in shown[place : place + 6] if text] == ["model.bridge.queries", "8", "16"]
    place = shown.index("packages.torch")
    assert [text for text in shown[place : place + 6] if text] == ["packages.torch", "2.15", "2.16"]
    assert "seed" not in shown[shown.index("How they differ") + 1 : shown.index("What they learned", 20)]


def test_only_the_same_images_with_the_same_questions_stand_together(runs):
    one, other = runs
    folder = other.samples("generation", "answers")
    items = json.loads((folder / "examples.json").read_text())
    items[0]["output"] = "vermilion"
    items[1]["question"] = "another question?"
    (folder / "examples.json").write_text(json.dumps(items[::-1]))
    found = {same.evaluation: same for same in beside.same_examples(read(one.path), read(other.path))}
    assert [(mine.output, theirs.output) for mine, theirs in found["answers"].shown] == [("red", "vermilion"), ("", "")]
    assert len(found["captions"].shown) == 4
    assert "vermilion" in page(runs).texts


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    one, other = write_run(tmp_path / "a/run"), write_run(tmp_path / "b/run")
    assert beside.names(read(one.path), read(other.path)) == (str(one.path), str(other.path))
    assert str(other.path) in page((one, other)).texts


@pytest.mark.parametrize("missing", ["lock", "metrics", "evaluation", "quarantine", "config"])
def test_it_is_made_from_whatever_is_there(runs, missing):
    getattr(runs[1], missing).unlink()
    page(runs)


def test_the_page_needs_nothing_else_and_can_be_read_without_eyes(runs):
    shown = page(runs)
    assert not shown.of("script") and not shown.of("link")
    assert shown.headings[0] == 1 and shown.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(shown.headings, shown.headings[1:], strict=False))
    names = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"][1:] for link in shown.of("a")} <= set(names)


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(build_app(), ["report", *map(str, arguments)])
    return done.exit_code, done.output.replace("\n", "")


def test_the_command_says_what_it_wrote(runs, tmp_path):
    one, other = runs
    assert call(one.path) == (0, str(one.report)) and one.report.exists()
    assert call(one.path, other.path) == (0, str(one.path / "report-vs-other.html"))
    assert call(one.path, other.path, "--out", tmp_path / "pages/both.html") == (0, str(tmp_path / "pages/both.html"))
    assert call(one.path, "--out", tmp_path / "alone.html")[0] == 0
    assert (tmp_path / "alone.html").read_text() == one.report.read_text()
    assert (
        results() and Path(one.path / "report-vs-other.html").read_text() == (tmp_path / "pages/both.html").read_text()
    )
