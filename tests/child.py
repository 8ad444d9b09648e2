"""Python processes of their own, outside the checkout."""

import os
import subprocess
import sys


def run_python(script, folder, *args, **environment):
    """Run a script in a folder that is not the checkout; return the lines it printed.

    An environment variable of None is removed.
    """
    merged = {k: v for k, v in (os.environ | environment).items() if v is not None}
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, cwd=folder, env=merged, capture_output=True, text=True)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout.splitlines()
