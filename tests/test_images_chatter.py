"""What C libraries say on descriptor 2 is kept away; what Python says still arrives."""

import subprocess
import sys

SCRIPT = """
import os, sys, warnings
from rvcnn.images.chatter import silence_c_libraries
before = sys.stderr
filters = list(warnings.filters)
with silence_c_libraries():
    os.write(2, b"from C\\n")
    print("from Python \\u00e9", file=sys.stderr)
    warnings.warn_explicit("of Pillow", UserWarning, "x.py", 1, module="PIL.PngImagePlugin")
    warnings.warn_explicit("of others", UserWarning, "x.py", 1, module="PILlow")
os.write(2, b"C again\\n")
assert sys.stderr is before
assert warnings.filters == filters
print("done", file=sys.stderr)
"""


def run(script, **options):
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", script],
        capture_output=True,
        encoding="utf-8",
        check=False,
        **options,
    )


def test_python_still_arrives():
    got = run(SCRIPT)
    lines = got.stderr.splitlines()
    assert got.returncode == 0, got.stderr
    assert lines[0] == "from Python é"
    assert lines[-2:] == ["C again", "done"]
    assert "of others" in got.stderr
    assert "from C" not in got.stderr
    assert "of Pillow" not in got.stderr


def test_stderr_that_is_not_descriptor_2_is_left_alone():
    script = """
import io, os, sys
from rvcnn.images.chatter import silence_c_libraries
mine = sys.stderr = io.StringIO()
with silence_c_libraries():
    assert sys.stderr is mine
    print("kept", file=sys.stderr)
    os.write(2, b"from C\\n")
assert mine.getvalue() == "kept\\n"
"""
    got = run(script)
    assert (got.returncode, got.stderr) == (0, "")


def test_a_closed_stderr_is_no_error():
    script = """
import os, sys
from rvcnn.images.chatter import silence_c_libraries
os.close(2)
with silence_c_libraries():
    print("ran")
"""
    got = run(script)
    assert (got.returncode, got.stdout) == (0, "ran\n")


def test_an_error_inside_restores_everything():
    script = """
import os, sys
from rvcnn.images.chatter import silence_c_libraries
try:
    with silence_c_libraries():
        raise KeyError
except KeyError:
    os.write(2, b"after\\n")
"""
    assert run(script).stderr == "after\n"
