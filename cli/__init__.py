"""The command line: each command a thin translation to a library call.

A command is a module of its own name; it is imported when it is asked for.
"""

from importlib import import_module

import click

from rvcnn.cli.boundary import one_line_usage
from rvcnn.cli.console import hold_standard_streams

COMMANDS = (
    "demo",
    "embed",
    "search",
    "compare",
    "dedup",
    "tag",
    "export",
    "info",
    "verify",
    "models",
    "weights",
    "warmup",
    "bench",
    "quantize",
    "doctor",
)


class Commands(click.Group):
    """The commands in the order a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with one_line_usage():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with one_line_usage():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return import_module(f"rvcnn.cli.{name}").command if name in COMMANDS else None


@click.command(
    cls=Commands,
    commands=dict.fromkeys(COMMANDS),  # the names, by which click tells what a misspelt one means
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  rvcnn demo",
)
@click.version_option(None, "--version", package_name="rvcnn", message="rvcnn %(version)s")
def app() -> None:
    """Turn folders of images into searchable vectors, on this computer's CPU."""


def main() -> None:
    """Run the command line: the entry point of ``rvcnn`` and ``python -m rvcnn``."""
    hold_standard_streams()
    app(prog_name="rvcnn")
