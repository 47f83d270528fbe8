"""`serve`: a model behind an endpoint, and a page to ask it."""

from importlib.util import find_spec
from typing import Annotated

import typer
from mmbridge_registry import UserError

import mmbridge
from mmbridge.cli.arguments import RunFolder

app = typer.Typer()

Token = Annotated[
    str | None, typer.Option(help="Bearer token that clients must send.", envvar="MMBRIDGE_TOKEN", show_default=False)
]


@app.command()
def serve(
    run: RunFolder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    token: Token = None,
    stage: Annotated[
        str | None, typer.Option(help="The stage to ask; by default the last that has a checkpoint.")
    ] = None,
) -> None:
    """Answer over HTTP as OpenAI's endpoints do, with a page to drop an image on."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise UserError("serving needs starlette and uvicorn.", do="pip install 'mmbridge[serve]'")

    from mmbridge.serve import listening

    local = listening.is_loopback(host)
    if not local and not token:
        what = "others could use the model: this address can be reached from elsewhere."
        raise UserError(what, where=f"--host {host}", do="Set --token (or MMBRIDGE_TOKEN), or serve on 127.0.0.1.")
    with listening.bind(host, port) as opened:
        from mmbridge.serve.app import build_app

        name = run.resolve().name
        served = build_app(
            mmbridge.load(run, stage), name, token=token or None, hosts={host, *listening.LOOPBACK} if local else None
        )
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"serving {name} at http://{shown}:{opened.getsockname()[1]} (Ctrl-C stops it)")
        listening.listen(served, opened)
