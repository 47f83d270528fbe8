"""The command line. A file per group of commands; each has an `app`, and imports torch only where it must run."""

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer
from mmbridge_registry import MmbridgeError
from typer.main import get_command

from mmbridge.cli.arguments import INTERRUPTED
from mmbridge.failing import say

GROUPS = ("running", "sweeping", "asking", "serving", "exchanging", "results", "configs", "planning", "data",
          "fetching", "plugins")  # fmt: skip
"""Modules in here whose `app` is part of the command line, in the order of `--help`."""

QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""Libraries' own bars and warnings would tear the one line of progress; what users set themselves stays."""

CHATTY = ("torch.utils._pytree",)
"""Loggers that warn of what no user can change, as soon as torchao is installed."""

# typer carries its own copy of click since 0.20; this is ClickException in either.
CliError: type[Exception] = typer.BadParameter.__mro__[2]


def build_app() -> typer.Typer:
    """Put the groups together."""
    app = typer.Typer(
        help="Assemble vision-language models out of plugins and train the bridge between frozen towers.",
        add_completion=False,
        pretty_exceptions_enable=False,
        callback=_global_options,
    )
    for group in GROUPS:
        app.add_typer(import_module(f"{__name__}.{group}").app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 is done, 1 a failure, 2 a mistake that the user can mend, 130 Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--debug"]
    if words[:1] != ["fetch"]:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.exit(_run(words or ["--help"], debug=len(words) < len(given)))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        command = get_command(build_app())
        with command.make_context(
            "mmbridge", list(arguments), obj=[sys.executable, "-m", "mmbridge", *arguments]
        ) as context:
            command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted; the same command goes on from the newest checkpoint.", INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return _explain(error)
    return 0


def _explain(error: Exception) -> int:
    if isinstance(error, MmbridgeError):
        return _say(str(error), error.exit_code)
    if isinstance(error, CliError):
        return _say(f"{error.format_message().rstrip('.')}. `mmbridge --help` lists what there is.", 2)  # type: ignore[attr-defined]
    what = " ".join(str(error).split())
    return _say(f"{type(error).__name__}: {what} (the traceback: the same command with --debug)", 1)


def _say(text: str, status: int) -> int:
    say(text)
    return status


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("mmbridge"))
        raise typer.Exit


def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del debug, version
