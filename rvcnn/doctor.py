"""What rvcnn runs on, and what is wrong with it."""

import os
import platform
import sqlite3
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = (
    "numpy",
    "numba",
    "llvmlite",
    "pillow",
    "pynndescent",
    "scipy",
    "scikit-learn",
    "click",
    "tqdm",
)
NOTABLE_FEATURES = {
    "avx2",
    "fma",
    "avx512f",
    "avx512vnni",
    "avxvnni",
    "avx512bf16",
    "neon",
    "dotprod",
    "i8mm",
}
CODECS = {
    "jpg": "JPEG",
    "zlib": "PNG",
    "libtiff": "compressed TIFF",
    "jpg_2000": "JPEG 2000",
    "webp": "WebP",
    "avif": "AVIF",
}
SELF_CHECK = (-0.059415, -0.094723, -0.05445, 0.271024, 0.039139, -0.082827, 0.071804, 0.181141)
"""`fold_embedding` of `pattern`'s embedding, computed in float64."""
SELF_CHECK_TOLERANCE = 1e-4


class Finding(NamedTuple):
    """One line of the report; `problem` says what is wrong and what to do, or is None."""

    subject: str
    value: str
    problem: str | None = None


def examine() -> Iterator[Finding]:
    """Yield the findings, in the order of the report; whatever fails is itself a finding."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            yield Finding(check.__name__, "failed", f"this check ended with {reason}")


def versions() -> Iterator[Finding]:
    """Versions of what rvcnn is made of."""
    yield Finding("rvcnn", version("rvcnn"))
    yield Finding("python", f"{platform.python_version()} ({platform.platform()})")
    for package in PACKAGES:
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            yield Finding(package, "missing", f"not installed: pip install {package}")
    yield Finding("sqlite", sqlite3.sqlite_version)


def cpu() -> Iterator[Finding]:
    """The CPU that kernels are compiled for."""
    from rvcnn.kernels import lanes, target

    name, features = target()
    has = {f[1:] for f in features.split(",") if f.startswith("+")}
    yield Finding("cpu", " ".join([name, *sorted(has & NOTABLE_FEATURES)]))
    yield Finding("lanes", f"{lanes()} of float32")


def threads() -> Iterator[Finding]:
    """How many threads run, and who decided that."""
    from rvcnn.threads import available_cpus, cgroup_cpus

    limits = [f"{os.cpu_count()} CPUs"]
    if hasattr(os, "sched_getaffinity"):
        limits.append(f"affinity allows {len(os.sched_getaffinity(0))}")
    quota = cgroup_cpus()
    if quota is not None:
        limits.append(f"the control group's quota is {quota:g}")
    yield Finding("threads", f"{available_cpus()} ({', '.join(limits)})")


def cache() -> Iterator[Finding]:
    """Where compiled kernels are kept."""
    from rvcnn.embedder import Embedder
    from rvcnn.kernels import cache_dir
    from rvcnn.warmup import cache_problem, is_compiled

    folder = Path(cache_dir())
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    state = "compiled" if is_compiled(Embedder()) else "not compiled yet: rvcnn warmup does it"
    yield Finding("cache", f"{folder}, {size / 1e6:.1f} MB, {state}", cache_problem())


def codecs() -> Iterator[Finding]:
    """Which image formats can be decoded."""
    from PIL import features

    missing = [name for codec, name in CODECS.items() if not features.check(codec)]
    problem = f"this Pillow cannot read {', '.join(missing)}: reinstall pillow" if missing else None
    here = [name for name in CODECS.values() if name not in missing]
    yield Finding("formats", ", ".join(here), problem)


def model() -> Iterator[Finding]:
    """Whether the embedded model gives the numbers it should, on this machine."""
    import numpy as np

    from rvcnn.embedder import Embedder

    embedder = Embedder(workers=1)
    row = embedder.embed([pattern()])[0]
    error = float(np.abs(fold_embedding(row) - SELF_CHECK).max())
    wrong = not error <= SELF_CHECK_TOLERANCE
    problem = "its numbers are wrong on this machine: please report this" if wrong else None
    yield Finding("model", f"{embedder.name}, {row.size} numbers, error {error:.0e}", problem)


def pattern():
    """Return a (256, 256, 3) uint8 picture that any machine computes alike."""
    import numpy as np

    i = np.arange(256)
    plane = (3 * i)[:, None] ^ (5 * i)[None, :]
    return (plane[:, :, None] * np.array([1, 2, 3]) % 256).astype(np.uint8)


def fold_embedding(row):
    """Fold a (512,) embedding into 8 numbers that all of it bears on."""
    import numpy as np

    return row.reshape(8, 64) @ np.cos(np.arange(64))


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    versions,
    cpu,
    threads,
    cache,
    codecs,
    model,
)
