"""Loss spikes: left out, told, and nothing of the training state touched."""

import json
import random
from math import inf, nan
from pathlib import Path

import pytest
from toys import ended_runs, faults

from mmbridge.spikes import WINDOW, Spikes

RUN = "blip2_tiny_opt"


def filled(deviations: float = 6.0, steps: int = WINDOW) -> Spikes:
    spikes, drawn = Spikes(deviations), random.Random(0)
    for _ in range(steps):
        assert spikes.reason(drawn.gauss(2.0, 0.1), drawn.gauss(1.0, 0.1)) is None
    return spikes


def test_a_spike_is_one_of_either_number_upwards() -> None:
    assert filled().reason(3.0, 1.0) == "loss spike"
    assert filled().reason(2.0, 2.0) == "norm spike"
    assert filled().reason(2.4, 1.4) is None
    assert filled().reason(0.0, 0.0) is None, "what is far below is no spike"
    assert filled(60.0).reason(3.0, 1.0) is None


def test_without_enough_steps_behind_it_nothing_is_a_spike() -> None:
    assert filled(steps=WINDOW // 2 - 1).reason(100.0, 1.0) is None
    assert filled(steps=WINDOW // 2).reason(100.0, 1.0) == "loss spike"


@pytest.mark.parametrize("value", [nan, inf])
def test_what_is_not_finite_is_left_out_and_not_counted(value: float) -> None:
    spikes = filled()
    before = spikes.state()
    assert spikes.reason(value, 1.0) == "loss not finite"
    assert spikes.state()["loss"] == before["loss"]


def test_a_new_level_is_accepted_after_a_while() -> None:
    spikes = filled()
    taken = [spikes.reason(4.0, 1.0) is None for _ in range(WINDOW)]
    assert not taken[0] and taken[-1] and taken == sorted(taken)


def test_a_resumed_run_decides_as_one_that_was_never_stopped() -> None:
    straight, drawn = filled(2.0, steps=10), random.Random(1)
    resumed = Spikes(2.0, json.loads(json.dumps(straight.state())))
    numbers = [(drawn.gauss(2.0, 0.5), drawn.gauss(1.0, 0.5)) for _ in range(300)]
    decided = [straight.reason(*pair) for pair in numbers]
    assert decided == [resumed.reason(*pair) for pair in numbers]
    assert {None, "loss spike", "norm spike"} == set(decided)


@pytest.mark.slow
def test_a_spike_in_a_run_of_two_ranks(tmp_path: Path) -> None:
    options = ("stages.representation.skip_spikes=6", "run.checkpoint_every=1", "run.keep_checkpoints=9")
    processes = ended_runs.start(tmp_path, *options, ranks=2, change=faults.spike, given=[1, 4])
    assert ended_runs.finish(processes) == [0, 0]
    lines = [json.loads(line) for line in (tmp_path / RUN / "metrics.jsonl").read_text().splitlines()]
    skipped = [line for line in lines if "skipped" in line]
    assert [(line["step"], line["skipped"], line["positions"]) for line in skipped] == [
        (4, "loss spike", [12, 13, 14, 15])
    ]
    folder = tmp_path / RUN / "checkpoints" / "representation"
    for name in ("weights.safetensors", "optimizer.safetensors"):
        third, fourth, fifth = ((folder / f"step-{step:08d}" / name).read_bytes() for step in (3, 4, 5))
        assert third == fourth != fifth, "weights, moments and AdamW's count of steps are those of the step before"
    state = json.loads((folder / "step-00000004" / "state.json").read_text())
    assert state["step"] == 4 and len(state["spikes"]["loss"]) == 4
