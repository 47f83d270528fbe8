"""`caption`, `ask`, `match`, `retrieve`: put a question to what a run has trained."""

from collections.abc import Iterable, Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from mmbridge_registry import Generation, UserError

import mmbridge
from mmbridge.cli.arguments import Json, RunFolder

app = typer.Typer()

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
"""What is taken from a folder; a file that is named is read whatever it is called."""

Images = Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)]
Stage = Annotated[str | None, typer.Option(help="The stage to ask; by default the last that has a checkpoint.")]
Beams = Annotated[int, typer.Option(help="Beams of the search; 1 is greedy.", min=1)]
Tokens = Annotated[int, typer.Option(help="The answer's length limit in tokens.", min=1)]
Text = Annotated[str, typer.Argument(help="What an image should show.", show_default=False)]


@app.command()
def caption(
    run: RunFolder,
    images: Images,
    prompt: Annotated[str, typer.Option(help="What each caption begins with.")] = "",
    stage: Stage = None,
    beams: Beams = 1,
    max_new_tokens: Tokens = 30,
    json: Json = False,
) -> None:
    """Write a caption of each image."""
    paths, generation = _files(images), Generation(beams=beams, max_new_tokens=max_new_tokens)
    captions = mmbridge.load(run, stage).caption(paths, prompt, generation)
    _print(paths, "caption", captions, json)


@app.command()
def ask(
    run: RunFolder,
    question: Annotated[str, typer.Argument(help="The question.", show_default=False)],
    images: Images,
    prompt: Annotated[str, typer.Option(help="How it is asked; {} is the question.")] = "Question: {} Answer:",
    stage: Stage = None,
    beams: Beams = 1,
    max_new_tokens: Tokens = 10,
    json: Json = False,
) -> None:
    """Ask a question about each image."""
    paths, generation = _files(images), Generation(beams=beams, max_new_tokens=max_new_tokens)
    answers = mmbridge.load(run, stage).answer(paths, [question] * len(paths), prompt, generation)
    _print(paths, "answer", answers, json)


@app.command()
def match(run: RunFolder, text: Text, images: Images, stage: Stage = None, json: Json = False) -> None:
    """Say how probable it is (ITM) that each image shows what the text says."""
    paths = _files(images)
    shares = mmbridge.load(run, stage).match(paths, [text] * len(paths)).tolist()
    _print(paths, "match", [round(share, 4) for share in shares], json)


@app.command()
def retrieve(
    run: RunFolder,
    text: Text,
    images: Images,
    top: Annotated[int, typer.Option(help="How many to show.", min=1)] = 10,
    stage: Stage = None,
    json: Json = False,
) -> None:
    """Find the images that the text fits best (ITC cosine)."""
    paths = _files(images)
    cosines = mmbridge.load(run, stage).similarity(paths, [text])[:, 0]
    best = cosines.argsort(descending=True)[:top].tolist()
    _print([paths[place] for place in best], "cosine", [round(float(cosines[place]), 4) for place in best], json)


def _files(images: Iterable[Path]) -> list[Path]:
    """List the images named, and those in the folders named."""
    files: list[Path] = []
    for path in images:
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise UserError("there are no images in this folder.", where=path)
        files += inside
    for file in files:
        if not file.exists():
            raise UserError("there is no such image.", where=file)
    return files


def _print(paths: Sequence[Path], key: str, results: Sequence[Any], json: bool) -> None:
    for path, result in zip(paths, results, strict=True):
        if json:
            typer.echo(dumps({"image": str(path), key: result}, ensure_ascii=False))
        else:
            typer.echo(f"{path}: {result}" if len(paths) > 1 else result)
