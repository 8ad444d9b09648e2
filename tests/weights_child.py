"""Reads hostile weights files in a process of its own, with a limit on memory and time.

Called with a folder; prints the name and what became of each file in it, one a line. Anything that
a file runs would leave a file ``ran`` behind, or print a line of its own.
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


def main(folder):
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    limit_memory()
    import rvcnn.models  # noqa: F401
    from rvcnn.errors import WeightsError
    from rvcnn.weights import load_weights

    for path in sorted(Path(folder).iterdir()):
        started = time.perf_counter()
        try:
            weights = load_weights(path)
            result = f"loaded {len(weights.tensors)}"
        except WeightsError as error:
            result = f"refused {str(error)!r}"
        except BaseException as error:
            result = f"FAILED {type(error).__name__}: {str(error)!r}"
        print(f"{path.name}\t{time.perf_counter() - started:.3f}\t{result}")


main(sys.argv[1])
