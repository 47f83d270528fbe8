"""`caption`, `ask`, `match`, `retrieve` on a run of real parts: lines as they are done, mistakes, pipes, progress."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmbridge_registry import UserError
from toys.tiny_run import photographs, write_run

import mmbridge
from mmbridge import cli, decoding
from mmbridge.inference import Model

COUNT = 7


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return mmbridge.load(run)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    for place, picture in enumerate(photographs(COUNT)):
        picture.save(folder / f"{place}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def mixed(album: Path, tmp_path: Path) -> Path:
    """The album, with a picture that is cut short and one that a phone made."""
    folder = tmp_path / "mixed"
    shutil.copytree(album, folder)
    (folder / "2b.png").write_bytes((folder / "2.png").read_bytes()[:60])
    (folder / "4b.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    return folder


@pytest.fixture
def command(run: Path, capsys: pytest.CaptureFixture[str]):
    def call(name: str, *words: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as done:
            cli.main([name, str(run), *map(str, words)])
        out, err = capsys.readouterr()
        lines = [json.loads(line) for line in out.splitlines()] if "--json" in words else out.splitlines()
        return SimpleNamespace(status=done.value.code, lines=lines, err=err)

    return call


def names(album: Path) -> list[str]:
    return [str(album / f"{place}.png") for place in range(COUNT)]


def test_caption(command, album: Path, model: Model) -> None:
    captions = model.caption(album, "a picture of", decoding.Generation(beams=2, max_new_tokens=5))
    options = ("--prompt", "a picture of", "--beams", 2, "--max-new-tokens", 5)
    done = command("caption", album, *options, "--batch-size", 3, "--json")
    pairs = zip(names(album), captions, strict=True)
    assert done.lines == [{"image": image, "caption": caption} for image, caption in pairs]
    assert (done.status, done.err) == (0, "")
    plain = command("caption", album, *options)
    assert plain.lines == [f"{line['image']}: {line['caption']}" for line in done.lines]
    assert command("caption", names(album)[3], *options).lines == [captions[3]]


def test_ask(command, album: Path, model: Model) -> None:
    question = "What color is the square?"
    answers = model.answer(album, question)
    done = command("ask", album / "0.png", album / "1.png", question, "--json")
    assert done.lines == [
        {"image": str(album / f"{place}.png"), "question": question, "answer": answers[place]} for place in range(2)
    ]
    other = command("ask", album, "what?", "--prompt", "Q: {} A:", "--max-new-tokens", 4, "--json").lines
    generation = decoding.ANSWER.generation.model_copy(update={"max_new_tokens": 4})
    assert [line["answer"] for line in other] == model.answer(album, "what?", "Q: {} A:", generation)


def test_ask_with_candidates(command, album: Path, model: Model) -> None:
    colours = ["red", "dark green", "blue"]
    done = command("ask", album, "which color?", "--candidates", "red, dark green ,blue", "--json")
    for line, scores in zip(done.lines, model.rank(album, "which color?", colours), strict=True):
        assert list(line["candidates"]) == colours
        assert list(line["candidates"].values()) == pytest.approx(scores, abs=1e-3)
        assert line["answer"] == colours[scores.index(max(scores))]
    assert command("ask", album / "0.png", "which color?", "--candidates", "red").lines == ["red"]


def test_match_gives_a_line_per_pair(command, album: Path, model: Model) -> None:
    texts = ["a red square", "two circles"]
    done = command("match", album, *texts, "--json", "--batch-size", 3)
    assert [(line["image"], line["text"]) for line in done.lines] == [(n, text) for n in names(album) for text in texts]
    for text in texts:
        matched = model.match(album, [text] * COUNT)
        lines = [line for line in done.lines if line["text"] == text]
        assert [line["itm"] for line in lines] == pytest.approx(matched.itm.tolist(), abs=1e-5)
        assert [line["itc"] for line in lines] == pytest.approx(matched.itc.tolist(), abs=1e-5)
    first = done.lines[0]
    assert command("match", names(album)[0], texts[0]).lines == [
        f"{texts[0]}: itm {first['itm']:.4f}, itc {first['itc']:.4f}"
    ]


def test_retrieve_gives_the_best_first(command, album: Path, model: Model) -> None:
    ((*expected,),) = model.retrieve(["a red square"], album, top=4)
    done = command("retrieve", "a red square", album, "--top", 4, "--json")
    assert [line["image"] for line in done.lines] == [str(found.image) for found in expected]
    assert [line["itc"] for line in done.lines] == pytest.approx([found.cosine for found in expected], abs=1e-5)
    assert command("retrieve", "a red square", album, "--top", 1).lines[0].startswith(str(expected[0].image))


class TestUnreadable:
    @pytest.mark.parametrize(
        "words", [("caption", "{}"), ("ask", "{}", "what?"), ("match", "{}", "a"), ("retrieve", "a", "{}")]
    )
    def test_one_of_many_has_a_line_that_says_why(self, command, mixed: Path, words: tuple[str, ...]) -> None:
        done = command(*(word.format(mixed) for word in words), "--json")
        errors = {line["image"]: line["error"] for line in done.lines if "error" in line}
        assert list(errors) == [str(mixed / "2b.png"), str(mixed / "4b.jpg")]
        assert "HEIC" in errors[str(mixed / "4b.jpg")]
        assert (done.status, len(done.lines), done.err) == (1, COUNT + 2, "")

    def test_order_is_kept_and_people_read_it_on_stderr(self, command, mixed: Path, model: Model) -> None:
        lines = command("caption", mixed, "--json", "--batch-size", 3).lines
        assert [line["image"] for line in lines] == sorted(map(str, mixed.glob("*.*g")))
        done = command("caption", mixed, mixed / "nowhere.png", "https://example.org/cat.jpg")
        assert len(done.lines) == COUNT and done.status == 1
        for said in ("2b.png: this image cannot be read", "No such file", "URL, and nothing is ever downloaded"):
            assert said in done.err
        assert done.err.count("\n") == 4

    @pytest.mark.parametrize(
        ("image", "said"),
        [
            ("{mixed}/2b.png", "cannot be read"),
            ("{mixed}/4b.jpg", "HEIC"),
            ("{mixed}/notes.txt", "cannot be read"),
            ("{mixed}/nowhere.png", "No such file"),
            ("https://example.org/cat.jpg", "https://example.org/cat.jpg: .*URL"),
        ],
    )
    def test_the_only_one_is_a_mistake(self, command, mixed: Path, image: str, said: str) -> None:
        done = command("caption", image.format(mixed=mixed))
        assert (done.status, done.lines, done.err.count("\n")) == (2, [], 1)
        with pytest.raises(UserError, match=said):
            raise UserError(done.err)

    def test_a_bomb(self, command, mixed: Path) -> None:
        import struct
        import zlib

        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
        (mixed / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
        done = command("caption", mixed / "bomb.png")
        assert done.status == 2 and "more than 89478485 pixels" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ask", "{album}", "what?", "--stage", "representation"), "projection is not trained"),
        (("ask", "{album}", "what?", "--stage", "third"), "no stage 'third'"),
        (("ask", "{album}", "what?", "--prompt", "Question:"), "no place for the question"),
        (("ask", "{album}", "what?", "--prompt", "<image> <image> {{}}"), "images given: 7, places for them: 14"),
        (("ask", "{album}", "what?", "--candidates", ","), "no candidates"),
        (("ask", "{album}", "what?", "--decoding", "blip2-vqa-t/1"), "did you mean 'blip2-vqa-t5/1'"),
        (("caption", "{album}", "--decoding", "blip2-vqa-t5/1"), "no decoding 'blip2-vqa-t5/1' for captions"),
        (("caption", "{empty}"), "no images in this folder"),
    ],
)
def test_mistakes_are_one_line(command, album: Path, tmp_path: Path, words, said: str) -> None:
    done = command(*(word.format(album=album, empty=tmp_path) for word in words))
    assert (done.status, done.lines, done.err.count("\n")) == (2, [], 1), done.err
    assert said in done.err


def test_decodings_are_defaults_that_flags_override(command, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Model, "caption", lambda self, images, *rest: seen.append(rest) or [""] * len(images))
    command("caption", album, "--decoding", "blip2-coco-caption/1")
    assert seen.pop() == (decoding.BLIP2_COCO.prompt, decoding.BLIP2_COCO.generation)
    command("caption", album, "--decoding", "blip2-coco-caption/1", "--prompt", "", "--max-new-tokens", 5, "--beams", 2)
    changed = decoding.BLIP2_COCO.generation.model_copy(update={"beams": 2, "max_new_tokens": 5, "min_new_tokens": 5})
    assert seen.pop() == ("", changed)


class TestInATerminal:
    @staticmethod
    def start(run: Path, *words: object, **pipes: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "mmbridge", words[0], run, *words[1:]]
        return subprocess.Popen(list(map(str, command)), env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)  # type: ignore[call-overload]

    @pytest.mark.slow
    def test_lines_come_as_they_are_done_and_head_is_no_error(self, run: Path, album: Path) -> None:
        images = names(album) * 50
        process = self.start(
            run, "caption", *images, "--batch-size", 2, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert json.loads(process.stdout.readline())["image"] == images[0]
        assert process.poll() is None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")
        process.stderr.close()

    @pytest.mark.slow
    def test_progress_is_shown_beside_the_lines(self, run: Path, album: Path) -> None:
        ours, theirs = pty.openpty()
        process = self.start(run, "caption", album, "--batch-size", 2, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = b"".join(iter(partial(read_terminal, ours), b""))
        os.close(ours)
        out = process.stdout.read()
        process.stdout.close()
        assert process.wait(60) == 0 and len(out.splitlines()) == COUNT and b"\x1b" not in out
        assert b"/7" in shown

    def test_no_progress_for_a_single_batch(self, command, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert command("caption", album).err == ""


def read_terminal(descriptor: int) -> bytes:
    """Read what is there; a terminal whose other side is closed says so by an error."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


def test_nothing_heavy_is_imported_for_a_mistake(tmp_path: Path) -> None:
    child = (
        "import sys\nfrom mmbridge.cli import main\n"
        "try: main(['caption', 'x', 'y.png', '--decoding', 'z'])\n"
        "except SystemExit as done: print(done.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.strip() == "2 False", done.stderr


def test_every_decoding_is_whole_and_found_by_its_task() -> None:
    assert len(decoding.DECODINGS) == 8
    for name, block in decoding.DECODINGS.items():
        assert decoding.find(name, asks="{}" in block.prompt) is block
        assert name.rpartition("/")[2].isdigit() and block.source
        assert block.generation.min_new_tokens <= block.generation.max_new_tokens
        with pytest.raises(UserError, match=r"there is no decoding"):
            decoding.find(name, asks="{}" not in block.prompt)
    paper = decoding.BLIP2_COCO.generation
    assert (paper.beams, paper.min_new_tokens, paper.max_new_tokens, paper.length_penalty) == (5, 8, 30, 1.0)


def test_decodings_are_arguments(model: Model, album: Path) -> None:
    short = decoding.BLIP2_VQA_OPT
    assert model.answer(album, "what?", **short.arguments) == model.answer(
        album, "what?", short.prompt, short.generation
    )


def test_the_docs_say_what_works(model: Model, album: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = (Path(__file__).parents[2] / "docs" / "answers.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (album / "photos").mkdir()
    shutil.copy(album / "0.png", album / "photos")
    monkeypatch.chdir(album)
    monkeypatch.setattr(mmbridge, "load", lambda source: model)
    exec("\n".join(blocks), {})
    assert capsys.readouterr().out.count("photos/0.png") == 2
    shutil.rmtree(album / "photos")
    for name, block in decoding.DECODINGS.items():
        (row,) = [line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line]
        if name.startswith(("blip2", "lavis")):
            generation = block.generation
            _, _, prompt, beams, lengths, penalties, _ = (cell.strip() for cell in row.split("|"))
            assert prompt == (f"`{block.prompt}`" if block.prompt else "none")
            assert int(beams) == generation.beams
            assert lengths == f"{generation.min_new_tokens} to {generation.max_new_tokens}"
            stated = {"length": generation.length_penalty, "repetition": generation.repetition_penalty}
            assert penalties == ", ".join(f"{key} {value:g}" for key, value in stated.items() if value != 1)
