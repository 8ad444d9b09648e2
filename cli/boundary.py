"""The one place where an exception becomes a line on stderr and an exit code."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from rvcnn.cli.console import debugging, note
from rvcnn.errors import RvcnnError

HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())  # which shows all of a command's help
INTERRUPTED = 130
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Command(click.Command):
    """A command whose help ends with an example and whose errors are one line each."""

    def __init__(self, *args, example: str, failure: int | None = None, **kwargs) -> None:
        super().__init__(*args, epilog=f"\b\nExample:\n  {example}", **kwargs)
        self.example = example
        self.failure = failure

    def invoke(self, ctx: click.Context) -> None:
        with boundary(self.failure):
            super().invoke(ctx)


@contextmanager
def boundary(failure: int | None = None) -> Iterator[None]:
    """Turn what the body raises into one line on stderr and an exit code."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.ClickException, click.exceptions.Exit):
        raise
    except BrokenPipeError:
        abandon_stdout()
        raise click.exceptions.Exit(0) from None
    except KeyboardInterrupt:
        note("rvcnn: interrupted; everything finished so far is kept")
        raise click.exceptions.Exit(INTERRUPTED) from None
    except Exception as error:
        if debugging():
            import traceback

            traceback.print_exc()
        line, code = explain(error)
        note(f"rvcnn: {line}")
        raise click.exceptions.Exit(failure or code) from None


@contextmanager
def one_line_usage() -> Iterator[None]:
    """Turn click's errors of usage, three lines and an empty one, into one line."""
    try:
        yield
    except click.UsageError as error:
        if not isinstance(error, HELP):
            where = error.ctx.command_path if error.ctx else "rvcnn"
            message = " ".join(error.format_message().split()).rstrip(".")
            note(f"rvcnn: {message} (`{where} -h` says more)")
            raise click.exceptions.Exit(error.exit_code) from None
        raise
    except OSError as error:
        # Help that could not be written; of a pipe that nobody reads any more, click takes care.
        if error.errno == errno.EPIPE:
            raise
        note(f"rvcnn: {explain(error)[0]}")
        raise click.exceptions.Exit(1) from None


def explain(error: Exception) -> tuple[str, int]:
    """Return the line and the exit code for an error."""
    if isinstance(error, RvcnnError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; fewer workers (-j) need less", 1
    if isinstance(error, OSError) and error.errno:
        reason = "no space left on the disk" if error.errno in FULL else os.strerror(error.errno)
        return f"{reason}: {os.fsdecode(error.filename)}" if error.filename else reason, 1
    name = type(error).__name__
    return f"unexpected {name}: {error} (RVCNN_DEBUG=1 shows where)", 1


def abandon_stdout() -> None:
    """Keep Python from writing the rest to a pipe that nobody reads any more."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
