"""Reads hostile weights files in a process of its own, with a limit on memory and time.

Called with a folder, and "onnx" if what it holds are networks to run; prints the name and what
became of each file in it, one a line. Anything that a file runs would leave a file ``ran`` behind,
or print a line of its own.
"""

import os
import sys
import time
from pathlib import Path

LIMIT = 1 << 30


def limit_memory():
    """Keep this process below a gigabyte, where the system can."""
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    try:
        bytearray(LIMIT)
    except MemoryError:
        return
    sys.exit("the limit on memory does not hold")


def main(folder, kind="weights"):
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    limit_memory()
    import rvcnn.models  # noqa: F401
    from rvcnn.errors import WeightsError
    from rvcnn.onnx import load
    from rvcnn.weights import load_weights

    if kind == "onnx":
        import onnx  # noqa: F401

    for path in sorted(Path(folder).iterdir()):
        started = time.perf_counter()
        try:
            if kind == "onnx":
                result = f"loaded {len(load(path).outputs)}"
            else:
                result = f"loaded {len(load_weights(path).tensors)}"
        except WeightsError as error:
            result = f"refused {str(error)!r}"
        except BaseException as error:
            result = f"FAILED {type(error).__name__}: {str(error)!r}"
        print(f"{path.name}\t{time.perf_counter() - started:.3f}\t{result}")


main(*sys.argv[1:])
