"""Items that are shown are the best, the worst and some others, none of them twice."""

from hypothesis import given
from hypothesis import strategies as st
from mmbridge_registry.examples import pick

SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1), max_size=40)


@given(SCORES, st.integers(1, 5))
def test_best_and_worst_are_picked_and_none_twice(scores: list[float], each: int) -> None:
    picked = pick(scores, each)
    rows = [row for row, _ in picked]
    assert len(rows) == len(set(rows)) == min(len(scores), 3 * each)
    by_reason = {why: [scores[row] for row, of in picked if of == why] for why in ("best", "random", "worst")}
    assert by_reason["best"] == sorted(scores, reverse=True)[:each]
    left = sorted(scores)[: max(0, len(scores) - each)]
    assert by_reason["worst"] == left[:each]
    assert pick(scores, each) == picked


def test_others_are_drawn_and_not_the_next_best() -> None:
    picked = pick([float(row) for row in range(1000)], 4)
    others = [row for row, why in picked if why == "random"]
    assert len(others) == 4 and max(others) - min(others) > 100
