from collections.abc import Iterator
from pathlib import Path

import pytest
from toys.features import write_features, write_photos

from mmbridge.features.records import open_records
from mmbridge.features.shards import open_shard


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and their features, which tests only read."""
    where = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMBRIDGE_CACHE", str(where / "cache"))
        write_photos(where)
        write_features(where)
    return where


@pytest.fixture(autouse=True)
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files that a test damages or replaces are not remembered from before."""
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    yield
    open_shard.cache_clear()
    open_records.cache_clear()
