"""`ls`, `show`, `validate`, `cp`: configs, and the parts that they can name."""

from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from mmbridge_registry import MmbridgeError, UserError
from mmbridge_registry.discovery import Discovered, discover

from mmbridge.capfilt.recipe import is_capfilt, load_capfilt
from mmbridge.cli.arguments import Config, Json, Overrides, print_json, print_table
from mmbridge.config import (
    ConfigError,
    as_yaml,
    base_of,
    find_config,
    is_card,
    load_card,
    load_recipe,
    read_yaml,
    shipped_cards,
    shipped_configs,
    shipped_pipelines,
)
from mmbridge.sweep.reading import is_sweep, load_sweep

app = typer.Typer()


@app.command("ls")
def list_all(json: Json = False) -> None:
    """List shipped configs and evaluation cards, and the parts that plugins offer."""
    every = shipped_configs() | shipped_pipelines()
    configs = [{"name": name, "about": _about(path)} for name, path in every.items()]
    found = discover()
    parts = [
        {
            "kind": offer.kind.name,
            "name": offer.name,
            "plugin": offer.plugin.name,
            "about": (offer.options.__doc__ or "").strip().partition("\n")[0],
        }
        for offer in sorted(found.catalog.offers(), key=lambda offer: (offer.kind.name, offer.name))
    ]
    read = ((name, read_yaml(path)) for name, path in shipped_cards().items())
    cards = [{"name": name, "version": card["card"], "task": card["task"]} for name, card in read]
    if json:
        return print_json({"configs": configs, "cards": cards, "parts": parts})
    print_table("configs", ["name", "about"], [list(config.values()) for config in configs])
    print_table("cards", ["name", "version", "task"], [list(card.values()) for card in cards])
    print_table("parts", ["kind", "name", "plugin", "about"], [list(part.values()) for part in parts])
    for broken in found.broken:
        typer.echo(f"{broken.plugin} could not be loaded: {broken.cause}", err=True)
    return None


@app.command()
def show(config: Config, overrides: Overrides = None) -> None:
    """Print a config as it is used: base, overrides and defaults included. The output is a valid config."""
    typer.echo(as_yaml(load_recipe(config, overrides or [], discover()).resolved), nl=False)


@app.command()
def validate(
    configs: Annotated[list[str], typer.Argument(help="Configs, and overrides for all of them.", show_default=False)],
) -> None:
    """Check configs without building anything: every key, every part, and whether the parts fit together."""
    found, mistakes = discover(), []
    overrides = [word for word in configs if "=" in word or (word.startswith("~") and not word.startswith("~/"))]
    for config in (word for word in configs if word not in overrides):
        try:
            typer.echo(_valid(config, overrides, found))
        except ConfigError as error:
            mistakes.extend(error.mistakes)
        except MmbridgeError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigError(mistakes)


@app.command()
def cp(
    name: Annotated[str, typer.Argument(help="A shipped config.")],
    destination: Annotated[Path, typer.Argument(help="A new file, or a directory.")],
) -> None:
    """Copy a shipped config (and its base) to edit it. Never overwrites."""
    source = find_config(name)
    target = destination / source.name if destination.is_dir() else destination
    copies = {target: source.read_text(encoding="utf-8")}
    if base := base_of(source):
        copies[target.parent / base.relative_to(source.parent)] = base.read_text(encoding="utf-8")
    for file, text in copies.items():
        if file.exists() and (file == target or file.read_text(encoding="utf-8") != text):
            raise UserError("it exists, and is not overwritten.", where=file, do="Choose another destination.")
    for file, text in copies.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {file}")


def _valid(config: str, overrides: list[str], found: Discovered) -> str:
    if is_card(config):
        return f"{find_config(config)}: valid (card, version {load_card(config, overrides, found).card})"
    if is_capfilt(config):
        one = load_capfilt(config, overrides, found)
        return f"{one.source}: valid (CapFilt: {one.captioner.offer.name}, {one.scorer.offer.name})"
    if is_sweep(config):
        names = ", ".join(load_sweep(config, overrides, found).settings.variants)
        return f"{find_config(config)}: valid (sweep: {names})"
    recipe = load_recipe(config, overrides, found)
    return f"{recipe.source}: valid ({', '.join(recipe.stages)})"


def _about(path: Path) -> str:
    comments = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.lstrip("# ") for line in comments).partition(". ")[0].rstrip(".")
