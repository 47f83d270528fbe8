"""Finding weights: shipped, local, in the hub's cache, or nowhere; and fetching, which never gets pickles."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered
from toys.parts import CONFIG, STUB, discovered

from mmbridge.config import ConfigError, load_recipe
from mmbridge.recipe import Recipe
from mmbridge.weights import fetch, locate, locate_all, weights_of, with_located

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty hub cache."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    original = huggingface_hub.snapshot_download

    def offline(*args: Any, **options: Any) -> str:
        assert options.get("local_files_only"), "only `fetch` may use the network"
        return original(*args, cache_dir=folder, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    return folder


def cached(cache: Path, repo: str, files: dict[str, str], revision: str = "main") -> Path:
    """Lay a snapshot into the cache as the hub does."""
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name, text in files.items():
        (snapshot / name).write_text(text)
    (home / "refs").mkdir()
    (home / "refs" / revision).write_text(COMMIT)
    return snapshot


def recipe(tmp_path: Path, found: Discovered, *overrides: str) -> Recipe:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return load_recipe(path, overrides, found)


@pytest.fixture
def found(tmp_path: Path) -> Discovered:
    found = discovered()
    (tmp_path / "shipped").mkdir()
    with found.catalog.of(STUB) as catalog:
        catalog.ship("tiny/eye", tmp_path / "shipped")
        catalog.ship("tiny/lost", tmp_path / "not-in-the-wheel")
    return found


def test_random_shipped_and_local(found: Discovered, tmp_path: Path, cache: Path) -> None:
    assert locate("random", found.catalog) == "random"
    assert locate("tiny/eye", found.catalog) == tmp_path / "shipped"
    file = tmp_path / "w.safetensors"
    file.touch()
    assert locate(str(file), found.catalog) == file


def test_the_hub_cache(found: Discovered, cache: Path) -> None:
    snapshot = cached(cache, "google/flan-t5-xl", {"config.json": "{}"})
    assert locate("google/flan-t5-xl", found.catalog) == snapshot
    assert locate("google/flan-t5-xl@main", found.catalog) == snapshot
    assert locate(f"google/flan-t5-xl@{COMMIT}", found.catalog) == snapshot
    with pytest.raises(UserError):
        locate("google/flan-t5-xl@v2", found.catalog)


def test_a_snapshot_without_all_its_shards_is_not_there(found: Discovered, cache: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    files = {"model.safetensors.index.json": index, "model-1.safetensors": ""}
    snapshot = cached(cache, "facebook/opt-6.7b", files)
    with pytest.raises(UserError):
        locate("facebook/opt-6.7b", found.catalog)
    (snapshot / "model-2.safetensors").touch()
    assert locate("facebook/opt-6.7b", found.catalog) == snapshot


@pytest.mark.parametrize("value", ["facebook/opt-2.7b", "no/such/folder", "tiny/lost", "../x", "a b"])
def test_nowhere_says_where_it_looked_and_what_to_do(found: Discovered, cache: Path, value: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(value, found.catalog, where="c.yaml:3: model.vision_encoder.weights")
    message = str(caught.value)
    assert message.startswith(f"c.yaml:3: model.vision_encoder.weights: weights '{value}' are not on this machine")
    assert str(Path(value).absolute()) in message
    assert "mmbridge fetch" in message
    assert (str(cache) in message) == (value in ("facebook/opt-2.7b", "tiny/lost"))


def test_all_that_is_missing_is_listed_at_once(found: Discovered, tmp_path: Path, cache: Path) -> None:
    there = recipe(tmp_path, found, "model.vision_encoder.weights=tiny/eye")
    assert locate_all(there, found.catalog) == {"tiny/eye": tmp_path / "shipped", "random": "random"}
    given = ["model.vision_encoder.weights=a/b", "model.bridge.init=c/d", "model.language_model.weights=a/b"]
    with pytest.raises(ConfigError) as caught:
        locate_all(recipe(tmp_path, found, *given), found.catalog)
    lines = str(caught.value).splitlines()
    assert [line.partition(" are not")[0].split("weights ")[1] for line in lines] == ["'a/b'", "'c/d'"]


def test_options_get_paths_also_where_they_may_be_none(found: Discovered, tmp_path: Path) -> None:
    model = recipe(tmp_path, found, "model.bridge.init=tiny/eye", "model.vision_encoder.weights=tiny/eye").model
    assert with_located(model.bridge, found.catalog).options.model_dump()["init"] == str(tmp_path / "shipped")
    located = with_located(model.vision_encoder, found.catalog)
    assert located.options.model_dump()["weights"] == str(tmp_path / "shipped")
    assert located.where == model.vision_encoder.where
    assert model.vision_encoder.options.model_dump()["weights"] == "tiny/eye"
    bare = recipe(tmp_path, found).model.bridge
    assert weights_of(bare) == []
    assert with_located(bare, found.catalog) is bare


class TestFetch:
    def hub(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *files: str) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def download(repo: str, **options: Any) -> str:
            if options.get("local_files_only"):
                raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
            calls.append({"repo": repo, **options})
            for file in files:
                (tmp_path / file).touch()
            return str(tmp_path)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return calls

    def test_only_what_is_not_here_and_no_pickles(
        self, found: Discovered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = self.hub(monkeypatch, tmp_path, "model.safetensors")
        given = ["model.vision_encoder.weights=tiny/eye", "model.language_model.weights=google/t5@v1"]
        assert list(fetch(recipe(tmp_path, found, *given), found.catalog)) == [("google/t5@v1", tmp_path)]
        patterns = ["*.safetensors", "*.json", "*.txt", "*.model"]
        assert calls == [{"repo": "google/t5", "revision": "v1", "allow_patterns": patterns}]

    def test_a_repository_of_pickles(self, found: Discovered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hub(monkeypatch, tmp_path, "config.json")
        with pytest.raises(UserError, match=r"'a/b' has no .safetensors.*@revision"):
            list(fetch(recipe(tmp_path, found, "model.language_model.weights=a/b"), found.catalog))

    def test_what_is_no_hub_id(self, found: Discovered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = self.hub(monkeypatch, tmp_path)
        with pytest.raises(UserError, match="not on this machine"):
            list(fetch(recipe(tmp_path, found, "model.language_model.weights=my/own/folder"), found.catalog))
        assert calls == []

    def test_no_network(self, found: Discovered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(repo: str, **options: Any) -> str:
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot reach the hub\nat all")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        with pytest.raises(UserError, match=r"c.yaml:7: .*'a/b' cannot be fetched: cannot reach the hub Check"):
            path = tmp_path / "c.yaml"
            path.write_text(CONFIG.replace("    weights: random", "    weights: a/b"))
            list(fetch(load_recipe(path, [], found), found.catalog))
