"""`caption`, `ask`, `match`, `retrieve`: put a question to a model, about one image or about thousands."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from mmbridge_registry import Generation

from mmbridge import decoding
from mmbridge.cli.arguments import Json
from mmbridge.cli.streaming import Asking
from mmbridge.decoding import Decoding

if TYPE_CHECKING:
    from mmbridge.inference import Model

app = typer.Typer()

WHO = "A run, an imported folder, or a checkpoint of another project."
Source = Annotated[str, typer.Argument(metavar="MODEL", help=WHO, show_default=False)]
Images = Annotated[list[str], typer.Argument(metavar="IMAGE", help="Images, or folders of them.", show_default=False)]
Prompt = Annotated[str | None, typer.Option(help="What the text goes on after; in `ask`, {} is the question.")]
Beams = Annotated[int | None, typer.Option(help="Beams of the search; 1 is greedy.", min=1)]
Tokens = Annotated[int | None, typer.Option(help="The text's length limit in tokens.", min=1)]
CaptionBlock = Annotated[str | None, typer.Option("--decoding", help=f"{', '.join(decoding.names(asks=False))}.")]
AnswerBlock = Annotated[str | None, typer.Option("--decoding", help=f"{', '.join(decoding.names(asks=True))}.")]
Stage = Annotated[str | None, typer.Option(help="The stage to ask; by default the last that has a checkpoint.")]
Size = Annotated[int, typer.Option(help="Images that are computed at once.", min=1)]


@app.command()
def caption(
    model: Source,
    images: Images,
    prompt: Prompt = None,
    beams: Beams = None,
    max_new_tokens: Tokens = None,
    named: CaptionBlock = None,
    stage: Stage = None,
    batch_size: Size = 32,
    json: Json = False,
) -> None:
    """Write a caption of each image."""
    block = decoding.find(named, asks=False) if named else decoding.CAPTION
    words, generation = _settings(block, prompt, beams, max_new_tokens)
    asking = Asking(model, images, stage, batch_size, json)
    for file, text in asking.each(lambda model, some: model.caption(some, words, generation)):
        asking.say(file, text, caption=text)
    asking.end()


@app.command()
def ask(
    model: Source,
    images: Images,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.", show_default=False)],
    candidates: Annotated[
        str | None, typer.Option(help="Answers to choose from, with commas between; the likeliest is given.")
    ] = None,
    prompt: Prompt = None,
    beams: Beams = None,
    max_new_tokens: Tokens = None,
    named: AnswerBlock = None,
    stage: Stage = None,
    batch_size: Size = 32,
    json: Json = False,
) -> None:
    """Ask a question about each image."""
    block = decoding.find(named, asks=True) if named else decoding.ANSWER
    words, generation = _settings(block, prompt, beams, max_new_tokens)
    asking = Asking(model, images, stage, batch_size, json)
    if candidates is not None:
        return _choose(asking, question, [text.strip() for text in candidates.split(",") if text.strip()], words)
    for file, text in asking.each(lambda model, some: model.answer(some, [question] * len(some), words, generation)):
        asking.say(file, text, question=question, answer=text)
    return asking.end()


@app.command()
def match(
    model: Source,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image, or a folder of them.", show_default=False)],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="What it may show.", show_default=False)],
    stage: Stage = None,
    batch_size: Size = 32,
    json: Json = False,
) -> None:
    """Say how well each image and each text fit: ITM probability and ITC cosine."""

    def scores(model: "Model", some: list[Any]) -> Sequence[Any]:
        import torch

        pairs = model.encode(some).compare(torch.arange(len(some)).repeat_interleave(len(texts)), texts * len(some))
        return torch.stack(pairs, -1).unflatten(0, (len(some), len(texts))).tolist()

    asking = Asking(model, [image], stage, batch_size, json)
    for file, pairs in asking.each(scores):
        for text, (itm, itc) in zip(texts, pairs, strict=True):
            asking.say(file, f"{text}: itm {itm:.4f}, itc {itc:.4f}", text=text, itm=itm, itc=itc)
    asking.end()


@app.command()
def retrieve(
    model: Source,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What an image should show.", show_default=False)],
    images: Images,
    top: Annotated[int, typer.Option(help="How many to show.", min=1)] = 10,
    stage: Stage = None,
    batch_size: Size = 32,
    json: Json = False,
) -> None:
    """Find the images that the text fits best, by ITC cosine."""
    asking = Asking(model, images, stage, batch_size, json)
    found = list(asking.each(lambda model, some: model.similarity(some, [text])[:, 0].tolist()))
    for file, cosine in sorted(found, key=lambda one: one[1], reverse=True)[:top]:
        asking.say(file, f"{cosine:.4f}", text=text, itc=cosine)
    asking.end()


def _choose(asking: Asking, question: str, candidates: Sequence[str], prompt: str) -> None:
    """Answer with the likeliest of the candidates; programs are told how likely each is (natural log)."""
    for file, scores in asking.each(lambda model, some: model.rank(some, [question] * len(some), candidates, prompt)):
        best = candidates[scores.index(max(scores))]
        asking.say(file, best, question=question, answer=best, candidates=dict(zip(candidates, scores, strict=True)))
    asking.end()


def _settings(block: Decoding, prompt: str | None, beams: int | None, tokens: int | None) -> tuple[str, Generation]:
    """Give a block's prompt and settings, with those in their place that were given one by one."""
    changed = {} if beams is None else {"beams": beams}
    if tokens is not None:
        changed |= {"max_new_tokens": tokens, "min_new_tokens": min(tokens, block.generation.min_new_tokens)}
    return block.prompt if prompt is None else prompt, block.generation.model_copy(update=changed)
