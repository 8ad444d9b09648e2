"""`rvcnn models`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.output import write_json, write_text


@click.command("models", cls=Command, example="rvcnn models")
@options.json
def command(as_json: bool) -> None:
    """List the architectures that -m/--model takes."""
    from rvcnn import list_models

    names = list_models()
    if as_json:
        write_json(*({"model": name} for name in names))
    else:
        write_text(*names)
