"""CapFilt makes the same shards however it is stopped and shared, and what it writes is read back as it says."""

import json
import signal
import subprocess
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import DATASET, UserError
from toys import capfilt_parts

from mmbridge.capfilt.pipeline import Pipeline
from mmbridge.capfilt.ranking import distinct, rank
from mmbridge.capfilt.recipe import load_capfilt
from mmbridge.config import ConfigError
from mmbridge.data.images import decode
from mmbridge.data.text import clean_caption

CONFIG = """
data: {name: image_tars, tars: TARS}
captioner: {name: namer}
scorer: {name: hashed}
captions: 6
records_per_shard: 4
batch_size: 3
output: OUTPUT
"""
RECORDS, BROKEN = 18, (2, 9)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def config(tmp_path):
    capfilt_parts.write_tar(tmp_path / "tars", RECORDS, BROKEN)
    file = tmp_path / "capfilt.yaml"
    file.write_text(CONFIG.replace("TARS", str(tmp_path / "tars")).replace("OUTPUT", str(tmp_path / "out")))
    return file


def run(config, *overrides, rank=0, world_size=1):
    found = capfilt_parts.found()
    pipeline = Pipeline.of(load_capfilt(config, overrides, found), found.catalog, rank, world_size)
    pipeline.run(lambda what, total, more: None)
    return pipeline


def hashes(folder: Path) -> dict[str, str]:
    return {tar.name: sha256(tar.read_bytes()).hexdigest() for tar in sorted(folder.glob("*.tar"))}


def read_back(folder: Path, **options):
    found = capfilt_parts.found()
    offer = found.catalog.find(DATASET, "image_tars")
    return offer.build(offer.options.model_validate({"tars": str(folder), **options}))


def test_every_image_has_its_best_captions_beside_it(config, tmp_path):
    figures = run(config).figures()
    assert (figures.records, figures.images, len(figures.bad)) == (RECORDS, RECORDS - 2, 2)
    assert all("0000000" in why for _, why in figures.bad)
    dataset, everything = read_back(tmp_path / "out"), read_back(tmp_path / "out", caption_field="all_captions")
    scorer = capfilt_parts.Hashed()
    readable = [number for number in range(RECORDS) if number not in BROKEN]
    kept_from_web = 0
    for record, whole, number in zip(dataset, everything, readable, strict=True):
        kind = "PNG" if number % 4 == 3 else "JPEG"
        assert record.image == capfilt_parts.encoded(number, kind), "images are passed on as they are"
        assert f"web caption {number}" in whole.texts
        scores = scorer.score([decode(record.image)], [list(whole.texts)])[0]
        assert scores == sorted(scores, reverse=True)
        assert len(set(whole.texts)) == len(whole.texts) == 3  # the web's, and two that the captioner repeats
        assert record.texts == whole.texts[:2]
        assert record.facts["scores"] == scores[:2]
        assert record.facts["url"] == f"https://a.example/{number}"
        kept_from_web += f"web caption {number}" in record.texts
    assert (figures.kept, figures.kept_from_web) == (2 * len(readable), kept_from_web)
    assert 0 < kept_from_web < len(readable)


def test_more_can_be_kept_without_captioning_again(config, tmp_path):
    run(config)
    best = read_back(tmp_path / "out", caption_field="all_captions", best=1)
    assert [record.texts for record in best] == [record.texts[:1] for record in read_back(tmp_path / "out")]


def test_ranks_make_the_shards_of_one(config, tmp_path):
    run(config)
    for rank_ in (1, 0, 2):
        run(config, f"output={tmp_path / 'shared'}", rank=rank_, world_size=3)
    assert len(hashes(tmp_path / "out")) == 5
    assert hashes(tmp_path / "out") == hashes(tmp_path / "shared")


def test_what_stands_is_not_made_again(config, tmp_path):
    run(config)
    before = hashes(tmp_path / "out")
    (tmp_path / "out" / "00002.tar").unlink()
    written = (tmp_path / "out" / "00001.tar").stat().st_mtime_ns
    pipeline = run(config)
    assert pipeline.missing() == []
    assert hashes(tmp_path / "out") == before
    assert (tmp_path / "out" / "00001.tar").stat().st_mtime_ns == written


KILLED = """
import sys, time
from toys import capfilt_parts
from mmbridge.capfilt.pipeline import Pipeline
from mmbridge.capfilt.recipe import load_capfilt
found = capfilt_parts.found()
pipeline = Pipeline.of(load_capfilt(sys.argv[1], sys.argv[2:], found), found.catalog)
def slowly(what, total, more):
    print(more, flush=True)
    time.sleep(0.2)
pipeline.run(slowly)
"""


@pytest.mark.slow
def test_killed_and_begun_again_it_is_the_same(config, tmp_path):
    run(config, f"output={tmp_path / 'whole'}")
    tests = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(config)], cwd=tests, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    there = hashes(tmp_path / "out")
    assert 0 < len(there) < 5
    run(config)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert not list((tmp_path / "out").glob("*.tmp"))


@pytest.mark.parametrize(
    ("override", "key"),
    [("captions=5", "captions"), ("seed=1", "seed"), ("data.captions=txt", "data.captions"), ("keep=1", "keep")],
)
def test_another_pipeline_does_not_go_on_here(config, override, key):
    run(config)
    with pytest.raises(UserError, match=f"were made with {key} = "):
        run(config, override)


def test_a_folder_of_other_tars_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="there are other tars here"):
        run(config, f"output={tmp_path / 'tars'}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("captionss=5", r"no key 'captionss'; did you mean 'captions'"),
        ("keep=8", "8 captions cannot be kept of 6"),
        ("captioner.name=hashed", "there is no captioner 'hashed'"),
        ("scorer.wieghts=x", "has no option 'wieghts'"),
        ("~scorer", "CapFilt needs a scorer"),
        ("captions=0", "greater than 0"),
    ],
)
def test_mistakes_are_explained(config, override, message):
    with pytest.raises(ConfigError, match=message):
        load_capfilt(config, [override], capfilt_parts.found())


def test_the_shipped_config_is_the_papers():
    recipe = load_capfilt("configs/capfilt/blip_large.yaml", [], capfilt_parts.found())
    assert (recipe.settings.captions, recipe.settings.keep) == (10, 2)
    assert (recipe.captioner.offer.name, recipe.scorer.offer.name) == ("blip", "open_clip")
    assert recipe.captioner.options.generation.top_p == 0.9


captions = st.lists(st.text(alphabet="ab .!", max_size=6), max_size=8)


@settings(max_examples=100, deadline=None)
@given(captions)
def test_captions_that_are_cleaned_alike_are_one(texts):
    kept = distinct(texts)
    cleaned = [clean_caption(text) for text in kept]
    assert len(set(cleaned)) == len(cleaned)
    assert set(cleaned) == {clean_caption(text) for text in texts} - {""}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 3)), min_size=1, unique_by=lambda pair: pair[0]))
def test_equal_scores_stay_in_order(pairs):
    texts, scores = [text for text, _ in pairs], [score for _, score in pairs]
    ranked = rank(texts, scores, [])
    places = [texts.index(text) for text in ranked.captions]
    assert sorted(places) == list(range(len(texts)))
    pairs = zip(pairwise(places), pairwise(ranked.scores), strict=True)
    assert all(better > worse or (better == worse and first < second) for (first, second), (better, worse) in pairs)
    assert json.loads(json.dumps(ranked.said(2)))["all_scores"] == ranked.scores
