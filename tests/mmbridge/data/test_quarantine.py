import json
from pathlib import Path

import pytest
from mmbridge_registry import UserError
from toys.quarantined import bad, fail_on_the_last, report_by_turns
from toys.ranks import on_ranks

from mmbridge.collectives import Collectives
from mmbridge.data.quarantine import Quarantine


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_each_bad_record_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, 0.5)
    assert not path.exists()
    quarantine.report(bad(1, 2), seen=100)
    quarantine.report(bad(2, 3), seen=100)
    assert [line["name"] for line in lines(path)] == ["1.jpg", "2.jpg", "3.jpg"]
    assert lines(path)[0] == {"dataset": "web", "name": "1.jpg", "reason": "cut\u2028short", "position": 101}


def test_a_run_that_goes_on_adds_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path, 1).report(bad(1, 2), seen=10)
    with path.open("a") as file:
        file.write('{"dataset": "web", "na')
    Quarantine(path, 1).report([], seen=10)
    again = Quarantine(path, 0)
    with pytest.raises(UserError):
        again.report(bad(2), seen=10)
    assert path.read_text().count("2.jpg") == 1


def test_one_bad_image_of_sixteen_does_not_stop_a_small_run(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.jsonl", 0.01)
    for _ in range(1000):
        quarantine.report(bad(1), seen=16)


def test_too_large_a_share_stops_and_names_the_first(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.jsonl", 0.01)
    quarantine.report(bad(*range(9)), seen=64)
    with pytest.raises(UserError, match=r"10 of 128 .*more than 1\.00%.* 0\.jpg .*; \.\.\..*max_bad_fraction"):
        quarantine.report(bad(9), seen=64)
    assert len(lines(tmp_path / "q.jsonl")) == 10


def test_a_share_below_the_limit_goes_on(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.jsonl", 0.01)
    for step in range(100):
        quarantine.report(bad(step), seen=101)
    with pytest.raises(UserError):
        quarantine.report(bad(*range(100, 110)), seen=1)


def test_a_limit_of_zero_stops_at_the_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 of 1000"):
        Quarantine(tmp_path / "q.jsonl", 0).report(bad(1), seen=1000)


def test_a_rank_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    assert fail_on_the_last(Collectives(), str(tmp_path / "q.jsonl")) == (3, "data.web: ä is unreadable. Mend it.", 2)


@pytest.mark.slow
def test_ranks_stop_together(tmp_path: Path) -> None:
    """Twelve different records of 112 samples: a rank alone would have met 8, too few to stop."""
    path = tmp_path / "q.jsonl"
    first, second = on_ranks(2, report_by_turns, str(path), 0.08)
    assert first == second
    step, message, names, seen = first
    assert (step, seen) == (6, 112) and len(names) == 12
    assert "12 of 112 samples cannot be used" in message and "0.jpg" in message
    assert [line["name"] for line in lines(path)] == names, "each record once, those of all ranks"
    assert {"0.jpg", "100.jpg", "1000.jpg"} <= set(names)
    assert on_ranks(2, fail_on_the_last, str(path)) == [(3, "data.web: ä is unreadable. Mend it.", 2)] * 2
