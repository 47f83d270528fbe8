"""`import` and `export`: checkpoints of other projects."""

from pathlib import Path
from typing import Annotated

import typer
from mmbridge_registry.discovery import discover

from mmbridge.cli.arguments import Json, print_json

app = typer.Typer()

SHOWN = 6
"""Names that are shown of a list; --json has all."""

Sets = Annotated[
    list[str] | None,
    typer.Argument(help="model.PART.KEY=value sets what the source cannot know.", show_default=False),
]


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a hub id that was fetched.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    overrides: Sets = None,
    json: Json = False,
) -> None:
    """Turn a checkpoint of another project (transformers, LAVIS) into a folder that every command takes as a run."""
    found = discover()

    from mmbridge.importing import import_checkpoint
    from mmbridge.weights import locate

    report = import_checkpoint(Path(locate(source, found.catalog)), out, overrides or [], found)
    if json:
        return print_json(vars(report))
    typer.echo(f"{report.title}: {report.taken} tensors taken, {len(report.renamed)} renamed")
    _list("missing (the source does not hold them)", report.missing)
    _list("unused (there is no place for them)", report.unused)
    _list("to know", report.notes, shown=None)
    return typer.echo(f"imported: {out} (all names: {out / 'import.json'})")


@app.command()
def export(
    source: Annotated[
        Path, typer.Argument(help="A run's or an import's folder, or one checkpoint of it.", show_default=False)
    ],
    destination: Annotated[Path, typer.Argument(help="The folder or file to write.", show_default=False)],
    to: Annotated[str, typer.Option(help="The format, such as hf or lavis (`mmbridge ls`).", show_default=False)],
    stage: Annotated[str | None, typer.Option(help="The stage; by default the last that has a checkpoint.")] = None,
    json: Json = False,
) -> None:
    """Write what a run has learned as a checkpoint of another project, with a model card."""
    found = discover()

    from mmbridge.exporting import export as write

    exported = write(source, to, destination, found, stage)
    if json:
        return print_json({key: dict(v) if key == "renamed" else v for key, v in vars(exported).items()})
    typer.echo(f"{exported.title}: {len(exported.renamed)} tensors")
    _list("has no place there", exported.lost)
    _list("to know", exported.notes, shown=None)
    return typer.echo(f"exported: {destination}")


def _list(title: str, entries: tuple[str, ...], shown: int | None = SHOWN) -> None:
    if entries:
        typer.echo(f"{title}:" if shown is None else f"{title}: {len(entries)}")
    for entry in entries[:shown]:
        typer.echo(f"  {entry}")
    if shown is not None and len(entries) > shown:
        typer.echo("  ...")
