"""Files that lie, break off or bring code with them: refused in one line, and nothing of them is run."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_blip2.lavis.format import Lavis
from mmbridge_registry import UserError
from toys import lavis_files
from toys.lavis_files import write_lavis

SMALL = {"encoder": 3, "queries": 1, "layers": 1, "width": 2, "inner": 2, "vocabulary": 3, "positions": 2}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"echo executed > {self.target}",)


class Claim:
    """A tensor of another size than its numbers."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> None:
        self.rebuild = (torch.randn(4)._typed_storage(), offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.rebuild


def refuse(file: Path, message: str) -> UserError:
    with pytest.raises(UserError, match=message) as caught:
        Lavis().read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("place", ["beside", "inside", "bare", "old"])
def test_code_in_a_pickle_is_refused_and_never_run(place, tmp_path):
    file, written = tmp_path / "evil.pth", tmp_path / "written"
    state = lavis_files.state("opt", **SMALL)
    if place == "bare":
        file.write_bytes(pickle.dumps({"model": Payload(written)}))
    else:
        beside = {"args": Payload(written)} if place == "beside" else {}
        inside = {} if place == "beside" else {"temp": Payload(written)}
        torch.save({"model": state | inside, **beside}, file, _use_new_zipfile_serialization=place != "old")
    assert Lavis().recognises(file)
    refuse(file, r"its pickle asks for (posix.system|nt.system|more), which is no plain data; nothing was run")
    assert not written.exists()
    with file.open("rb") as opened:  # the payload is a live one
        pickle.load(opened) if place == "bare" else torch.load(file, weights_only=False)
    assert written.exists()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_a_cut_file_is_refused(share, old, tmp_path):
    file = tmp_path / "x.pth"
    torch.save({"model": lavis_files.state("opt", **SMALL)}, file, _use_new_zipfile_serialization=not old)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert Lavis().recognises(file)
    refuse(file, "it is cut short or no pickle of tensors")


LIES = {
    "more numbers than there are": Claim((10**9,), (1,)),
    "one number ever again": Claim((10**6, 10**6), (0, 0)),
    "begins behind the end": Claim((4,), (1,), 10**12),
    "begins before the start": Claim((4,), (1,), -8),
    "negative size": Claim((-5,), (1,)),
    "expanded": torch.zeros(1).expand(10**6, 10**6),
    "sparse": torch.zeros(3).to_sparse(),
    "meta": torch.empty(10**12, device="meta"),
    "complex": torch.zeros(2, dtype=torch.complex64),
    "integers": torch.zeros(2, dtype=torch.int32),
    "words": "words",
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_tensors_that_are_not_what_they_say_are_refused(lie, old, tmp_path):
    file = tmp_path / "x.pth"
    state = lavis_files.state("opt", **SMALL) | {"query_tokens": lie}
    torch.save({"model": state}, file, _use_new_zipfile_serialization=not old)
    refuse(file, "'query_tokens' is no tensor of numbers|cut short or no pickle of tensors")


@pytest.mark.parametrize(
    "content",
    [{}, {"model": {}}, [torch.ones(2)], torch.ones(2), {"model": 3}, {"epoch": 3, "lr": 0.1}],
    ids=["empty", "no tensors", "list", "tensor", "number", "numbers"],
)
def test_a_file_without_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    refuse(tmp_path / "x.pth", "there are no tensors in it")


def test_a_compressed_archive_is_refused_before_it_is_opened(tmp_path):
    plain, packed = write_lavis(tmp_path / "plain.pth", "opt"), tmp_path / "packed.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            body = source.read(member.filename)
            target.writestr(member.filename, bytes(10**8) if member.filename.endswith("data/0") else body)
    refuse(packed, "it is a compressed archive")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pth")
    refuse(tmp_path / "x.pth", "Cannot use ``weights_only=True`` with TorchScript archives")


def test_only_pickles_are_recognised_and_none_by_its_name(tmp_path):
    good = write_lavis(tmp_path / "no_suffix", "opt", **SMALL)
    assert Lavis().recognises(good)
    for name, content in {
        "a.pth": b"",
        "b.pth": b"text",
        "c.pth": b"PK\x03\x04 a document",
        "d.pth": b"\x80\x00",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not Lavis().recognises(tmp_path / name)
    assert not Lavis().recognises(tmp_path)
    assert not Lavis().recognises(tmp_path / "nowhere.pth")


@pytest.fixture(scope="module", params=[False, True], ids=["zip", "old"])
def small_file(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("fuzz") / "x.pth"
    torch.save({"model": lavis_files.state("opt", **SMALL)}, file, _use_new_zipfile_serialization=not request.param)
    return file.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(draw, small_file, tmp_path):
    content = bytearray(small_file)
    places = st.integers(0, min(len(content), 9000) - 1)
    for place in draw.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = draw.draw(st.integers(0, 255))
    file = tmp_path / "x.pth"
    file.write_bytes(content)
    Lavis().recognises(file)
    try:
        Lavis().read(file)
    except UserError as error:
        assert str(file) in str(error)
