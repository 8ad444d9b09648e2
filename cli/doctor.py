"""`rvcnn doctor`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import printable
from rvcnn.cli.output import write_json, write_text


@click.command("doctor", cls=Command, example="rvcnn doctor")
@options.json
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show what rvcnn runs on, and what is wrong with it.

    Versions, CPU, threads, cache, image formats; and the embedded model's numbers on a test
    pattern. Exit code 1 if anything is wrong.
    """
    from rvcnn.doctor import examine

    problems = 0
    for finding in examine():
        problems += finding.problem is not None
        if as_json:
            write_json(finding._asdict())
            continue
        write_text(printable(f"{finding.subject:<12} {finding.value}"))
        if finding.problem:
            write_text(printable(f"{'':<12} PROBLEM: {finding.problem}"))
    if problems:
        ctx.exit(1)
