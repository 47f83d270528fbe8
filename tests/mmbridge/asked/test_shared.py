"""A model that ranks ask together says what it says alone, and says nothing twice."""

import json
from pathlib import Path

import pytest
import torch
from mmbridge_registry import UserError
from torch.testing import assert_close
from toys import sharing
from toys.ranks import on_ranks

from mmbridge.asked.exchanged import ExchangedImages
from mmbridge.asked.journal import Journal
from mmbridge.asked.shared import SharedModel
from mmbridge.collectives import Collectives


@pytest.fixture(scope="module")
def alone() -> dict[str, object]:
    return sharing.ask_together(Collectives(), None, None, True)[0]


def test_one_rank_says_what_the_model_says(tmp_path: Path) -> None:
    alone, _ = sharing.ask_together(Collectives(), None, None, True)
    given, _ = sharing.ask_together(Collectives(), str(tmp_path / "journal"), None, True)
    assert sharing.same(given, alone)
    bare = sharing.everything(sharing.toy_model())
    # Batches of pairs end where slices do, so a pair has other neighbours there.
    assert_close(alone.pop("pairs"), bare.pop("pairs"), rtol=0, atol=1e-6)
    assert sharing.same(alone, bare)
    assert len(set(alone["captions"])) == sharing.COUNT, "rows in a wrong order would not be seen"


def test_ranks_divide_the_work_and_all_get_all_answers(alone: dict[str, object]) -> None:
    _, encoded = sharing.ask_together(Collectives(), None, None, True)
    results = on_ranks(2, sharing.ask_together, None, None, True)
    assert all(sharing.same(given, alone) for given, _ in results)
    assert sum(images for _, images in results) == encoded
    assert max(images for _, images in results) < 0.75 * encoded


def test_a_model_that_no_rank_can_ask_alone_is_asked_by_all(alone: dict[str, object], tmp_path: Path) -> None:
    _, encoded = sharing.ask_together(Collectives(), None, None, True)
    results = on_ranks(2, sharing.ask_together, str(tmp_path / "journal"), None, False)
    assert all(sharing.same(given, alone) and images == encoded for given, images in results)


def test_what_was_answered_before_an_interruption_is_not_asked_again(alone: dict[str, object], tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    _, encoded = sharing.ask_together(Collectives(), None, None, True)
    counts = []
    for rounds in (5, 9, None):
        given, images = sharing.ask_together(Collectives(), journal, rounds, True)
        counts.append(images)
    assert given is not None and sharing.same(given, alone)
    # Features live in memory: what is encoded for pairs is encoded again if pairs are missing, all else is not.
    assert sum(counts) <= encoded + sharing.COUNT
    assert counts[-1] < encoded / 2


def test_other_ranks_go_on_with_the_journal_of_one(alone: dict[str, object], tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    _, first = sharing.ask_together(Collectives(), journal, 6, True)
    _, encoded = sharing.ask_together(Collectives(), None, None, True)
    results = on_ranks(3, sharing.ask_together, journal, None, True)
    assert all(sharing.same(given, alone) for given, _ in results)
    assert first + sum(images for _, images in results) <= encoded + sharing.COUNT


def test_a_journal_of_another_step_or_question_is_forgotten(tmp_path: Path) -> None:
    pictures, folder = sharing.images(), tmp_path / "journal"

    def captions(step: int, prompt: str) -> tuple[list[str], int]:
        model = sharing.toy_model()
        given = SharedModel(model, Collectives(), Journal(folder, {"step": step})).caption(pictures, prompt)
        return given, model.bridged.vision_encoder.images  # type: ignore[return-value]

    first = captions(1, "a")
    assert captions(1, "a") == (first[0], 0)
    assert captions(2, "a") == first
    assert captions(2, "b")[1] == sharing.COUNT
    assert captions(2, "b")[1] == 0


def test_a_part_that_was_cut_short_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    sharing.ask_together(Collectives(), str(folder), 2, True)
    assert json.loads((folder / "key.json").read_text()) == {"step": 1}
    assert not list(folder.rglob("*.tmp"))
    Journal(folder, {"step": 1}).forget()
    assert not folder.exists()


def test_a_signal_is_heard_between_two_parts(tmp_path: Path) -> None:
    given, images = sharing.ask_together(Collectives(), str(tmp_path), 0, True)
    assert given is None and images == 8


def test_questions_about_several_images_are_completed_instead() -> None:
    model = SharedModel(sharing.toy_model(), Collectives(), Journal(None, {}))
    with pytest.raises(UserError, match="Use `complete`"):
        model.answer(sharing.images(), prompt="<image> and <image>?")


def test_sampled_text_does_not_depend_on_who_writes_it_or_when(tmp_path: Path) -> None:
    def drawn(rounds: int | None) -> list[float] | None:
        shared = SharedModel(
            sharing.toy_model(), Collectives(), Journal(tmp_path, {}), lambda: sharing.stop_at_zero(left)
        )
        left = [rounds]
        try:
            return shared.rows(["draw"], sharing.COUNT, lambda rows: torch.rand(len(rows)).tolist())
        except KeyboardInterrupt:
            return None

    assert drawn(1) is None
    torch.rand(3)
    resumed = drawn(None)
    Journal(tmp_path, {}).forget()
    assert drawn(None) == resumed


def test_the_probe_shows_other_images_and_asks_the_same() -> None:
    model, pictures = sharing.toy_model(), sharing.images()
    other = pictures[11:] + pictures[:11]
    probe = sharing.everything(ExchangedImages(model))
    straight = sharing.everything(model)
    assert probe["captions"] == model.caption(other, sharing.TEXTS) != straight["captions"]
    assert probe["answers"] == model.answer(other, sharing.TEXTS, "{}?") != straight["answers"]
    assert torch.equal(probe["encoded"], model.encode(other).embed())
    assert not torch.equal(probe["pairs"], straight["pairs"])
    assert torch.equal(probe["words"], straight["words"])
    assert all(mine is not another for mine, another in zip(pictures, other, strict=True))
