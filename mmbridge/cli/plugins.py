"""`plugins`: what is installed, and whether it is well."""

from dataclasses import asdict

import typer
from mmbridge_registry.discovery import discover, installed

from mmbridge.cli.arguments import Json, print_json, print_table
from mmbridge.doctor import Diagnosis, examine

app = typer.Typer()
group = typer.Typer(help="List and examine plugins.")
app.add_typer(group, name="plugins")


@group.command("list")
def list_plugins(json: Json = False) -> None:
    """List installed plugins and their parts."""
    found = discover()
    failures = {broken.plugin: broken.cause for broken in found.broken}
    rows = [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "parts": [f"{o.kind.name}: {o.name}" for o in found.catalog.offers() if o.plugin == plugin],
            "failure": failures.get(plugin),
        }
        for plugin in installed()
    ]
    if json:
        return print_json(rows)
    table = [
        (row["plugin"], f"{row['distribution']} {row['version']}", row["failure"] or ", ".join(row["parts"]))
        for row in rows
    ]
    return print_table("plugins", ["plugin", "distribution", "parts"], table)


@group.command()
def doctor(json: Json = False, limit: float = typer.Option(60.0, help="Seconds that each plugin gets.")) -> None:
    """Load each plugin in a process of its own; exit 1 if one is ill."""
    diagnoses = [examine(plugin, limit) for plugin in installed()]
    if json:
        print_json([asdict(diagnosis) for diagnosis in diagnoses])
    else:
        columns = ["plugin", "distribution", "parts", "hooks", "seconds", "verdict"]
        print_table("plugins", columns, map(_row, diagnoses))
    if any(diagnosis.failure for diagnosis in diagnoses):
        raise typer.Exit(1)


def _row(diagnosis: Diagnosis) -> tuple[object, ...]:
    verdict = diagnosis.failure or ("well" if diagnosis.torch_free else "imports torch: slows every command down")
    distribution = f"{diagnosis.distribution} {diagnosis.version}"
    parts, hooks = ", ".join(diagnosis.parts), ", ".join(diagnosis.hooks)
    return diagnosis.plugin, distribution, parts, hooks, diagnosis.seconds, verdict
