"""`rvcnn info`."""

from pathlib import Path
from typing import Any

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import printable
from rvcnn.cli.output import write_json, write_text


@click.command("info", cls=Command, example="rvcnn info photos")
@click.argument("dir", type=options.PATH)
@options.json
def command(dir: Path, as_json: bool) -> None:
    """Show what DIR's index holds."""
    from rvcnn.place import open_place

    facts = open_place(dir).facts()
    if as_json:
        write_json(facts)
    else:
        write_text(*(printable(f"{name:<16} {show(value)}") for name, value in facts.items()))


def show(value: Any) -> str:
    """Return a fact as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return str(value)
