"""Every exception becomes one line on stderr and the documented exit code."""

import errno
import os
import re
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from rvcnn import errors
from rvcnn.cli import app
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import printable

CASES = [
    (errors.RvcnnError("a thing failed"), 1, "rvcnn: a thing failed"),
    (errors.UsageError("no such folder: x"), 2, "rvcnn: no such folder: x"),
    (errors.ImageError("truncated"), 1, "rvcnn: truncated"),
    (errors.IndexMissingError("no index in x"), 4, "rvcnn: no index in x"),
    (errors.IndexMismatchError("another model"), 4, "rvcnn: another model"),
    (errors.IndexDamagedError("row 3"), 1, "rvcnn: row 3"),
    (errors.IndexLockedError("another process"), 1, "rvcnn: another process"),
    (errors.ShapeError("no layer 'nowhere'"), 2, "rvcnn: no layer 'nowhere'"),
    (errors.WeightsError("no key"), 2, "rvcnn: no key"),
    (errors.DownloadError("no network"), 1, "rvcnn: no network"),
    (KeyboardInterrupt(), 130, "rvcnn: interrupted; everything finished so far is kept"),
    (MemoryError(), 1, "rvcnn: out of memory; fewer workers (-j) need less"),
    (OSError(errno.ENOSPC, "", "v.npz"), 1, "rvcnn: no space left on the disk: v.npz"),
    (PermissionError(errno.EACCES, "Permission denied", "d"), 1, "rvcnn: Permission denied: d"),
    (errors.RvcnnError("a\nb\x1b[2J\udcff"), 1, r"rvcnn: a\nb\x1b[2J\xff"),
    (
        ZeroDivisionError("by 0"),
        1,
        "rvcnn: unexpected ZeroDivisionError: by 0 (RVCNN_DEBUG=1 shows where)",
    ),
]


def failing(error: BaseException, **kwargs) -> click.Command:
    @click.command("fail", cls=Command, example="rvcnn fail", **kwargs)
    def fail():
        raise error

    return fail


@pytest.mark.parametrize("error, code, line", CASES, ids=lambda v: type(v).__name__)
def test_one_line_and_code(error, code, line, monkeypatch):
    monkeypatch.delenv("RVCNN_DEBUG", raising=False)
    result = CliRunner().invoke(failing(error), [])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", line + "\n")


@pytest.mark.parametrize(
    "args, line",
    [
        (["--bogus"], "No such option"),
        (["bogus"], "No such command 'bogus' (`rvcnn -h` says more)"),
        (["weights", "bogus"], "No such command 'bogus' (`rvcnn weights -h` says more)"),
        (["embed"], "Missing argument 'PATH...' (`rvcnn embed -h` says more)"),
        (["embed", ".", "--no-index"], "--no-index needs -o FILE, and no --ann, --rebuild, "),
        (
            ["search", "q", "-k", "0"],
            "Invalid value for '-k' / '--top': 0 is not in the range x>=1",
        ),
    ],
)
def test_wrong_usage_is_one_line(args, line):
    result = CliRunner().invoke(app, args, prog_name="rvcnn")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"rvcnn: {line}") and result.stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(click.exceptions, "NoSuchCommand"), reason="an older click")
def test_a_misspelt_command_is_told_what_is_meant():
    result = CliRunner().invoke(app, ["serach", "q"], prog_name="rvcnn")
    says = "rvcnn: No such command 'serach'. Did you mean 'search'? (`rvcnn -h` says more)\n"
    assert (result.exit_code, result.stderr) == (2, says)


@pytest.mark.parametrize("args", [[], ["weights"]])
def test_nothing_asked_for_shows_what_there_is(args):
    result = CliRunner().invoke(app, args)
    assert "Commands:" in result.output


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("RVCNN_DEBUG", "1")
    result = CliRunner().invoke(failing(errors.IndexMissingError("no index")), [])
    assert result.exit_code == 4
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.endswith("\nrvcnn: no index\n")


def test_a_command_may_have_one_code_for_every_failure():
    for error in (MemoryError(), errors.RvcnnError("x"), ZeroDivisionError()):
        assert CliRunner().invoke(failing(error, failure=2), []).exit_code == 2


def test_every_error_class_is_covered():
    classes = {c for c in vars(errors).values() if isinstance(c, type)}
    codes = {c.exit_code for c in classes}
    assert codes <= {1, 2, 4}
    assert {type(e) for e, _, _ in CASES} >= classes


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain.jpg", "plain.jpg"),
        ("Füße 雪.jpg", "Füße 雪.jpg"),
        ("a\tb\nc", r"a\tb\nc"),
        ("\udcff\udc80.jpg", r"\xff\x80.jpg"),
        ("right\u202eto left", r"right\u202eto left"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


CHILD = """
import os, sys, logging, click
from rvcnn.cli.boundary import Command
@click.command("child", cls=Command, example="rvcnn child")
def child():
    {body}
child()
"""


def run_child(body: str, tmp_path, **kwargs) -> subprocess.CompletedProcess:
    script = CHILD.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True, **kwargs
    )


def test_image_libraries_are_silent(tmp_path):
    body = (
        "from rvcnn.cli.engine import quiet_libraries; quiet_libraries(); "
        "os.write(2, b'libtiff: chatter'); logging.getLogger('PIL.TiffImagePlugin').error('e'); "
        "print('ours', file=sys.stderr)"
    )
    assert run_child(body, tmp_path).stderr == "ours\n"
    loud = run_child(body, tmp_path, env={**os.environ, "RVCNN_DEBUG": "1"}).stderr
    for part in ("libtiff: chatter", "e\n", "ours\n"):
        assert part in loud


def test_errors_after_the_silence_are_heard(tmp_path):
    run = run_child("raise SystemExit('heard')", tmp_path)
    assert run.stderr == "heard\n"


@pytest.mark.skipif(os.name == "nt", reason="no pipes that break like this")
def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    body = "[sys.stdout.write('line\\n') for _ in range(100_000)]"
    run = run_child(body, tmp_path, stdout=writer)
    os.close(writer)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_under_stdout(tmp_path):
    with open("/dev/full", "w") as full:
        run = run_child("print('data')", tmp_path, stdout=full)
    assert run.returncode == 1
    assert run.stderr == "rvcnn: no space left on the disk\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("args", [["--help"], ["compare", "--help"]])
def test_help_to_a_full_disk(tmp_path, args):
    command = [sys.executable, "-m", "rvcnn", *args]
    with open("/dev/full", "w") as full:
        run = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (1, "rvcnn: no space left on the disk\n")


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c(tmp_path):
    script = CHILD.format(body="print('ready', flush=True); import time; time.sleep(60)")
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 130
    assert re.fullmatch(r"rvcnn: interrupted; .*\n", stderr)
