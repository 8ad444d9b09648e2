"""Work on several threads, results in order; and how many threads this process may keep busy."""

import concurrent.futures
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

# A wait without a timeout cannot be interrupted by Ctrl-C on Windows.
_POLL_SECONDS = 0.5


def ordered_map(
    fn: Callable[[_T], _R], items: Iterable[_T], workers: int, ahead: int
) -> Iterator[_R]:
    """Call ``fn`` on every item, on worker threads, and yield the results in the items' order.

    Parameters
    ----------
    fn
        Called once an item, from any of the threads.
    items
        Read from the consumer's thread only, at most ``ahead`` items beyond the result being
        yielded.
    workers
        Number of threads. With 1 the calls happen in the consumer's thread, one a result.
    ahead
        How many items may be in work or finished at once; at least ``workers`` to keep all busy.

    Yields
    ------
    The results. An exception of ``fn``, or of ``items`` itself, is raised in its item's place and
    ends the iteration.

    Notes
    -----
    Closing the generator, or an exception thrown into it (an interrupt), starts no further call
    and waits for those that are running.
    """
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, not {workers} and {ahead}")
    if workers == 1:
        return (fn(item) for item in items)
    return _threaded_map(fn, items, workers, ahead)


def _threaded_map(fn, items, workers, ahead):
    source = iter(items)
    pending = deque()
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="rvcnn")
    try:
        more = True
        while more or pending:
            while more and len(pending) < ahead:
                more = _submit_next(pool, fn, source, pending)
            if pending:
                yield _result(pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit_next(pool, fn, source, pending):
    """Submit one item; whether there may be another. An error of the source waits its turn."""
    try:
        item = next(source)
    except StopIteration:
        return False
    except Exception as error:
        failed = concurrent.futures.Future()
        failed.set_exception(error)
        pending.append(failed)
        return False
    pending.append(pool.submit(fn, item))
    return True


def _result(future):
    while not future.done():
        concurrent.futures.wait([future], timeout=_POLL_SECONDS)
    return future.result()


def available_cpus() -> int:
    """How many CPUs this process may keep busy: at least 1.

    The least of the machine's CPUs, the affinity mask, and the CPU quota of the control group
    (rounded up), which is what a container's limit is on Linux.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    quota = cgroup_cpus()
    if quota is not None:
        limits.append(math.ceil(quota))
    return max(1, min(limits))


def cgroup_cpus(root: str | os.PathLike[str] = "/") -> float | None:
    """CPUs that the control groups of this process allow, or None where nothing limits them.

    Parameters
    ----------
    root
        The folder that holds ``proc`` and ``sys``.
    """
    root = Path(root)
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0":
            base, quota_of = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            base, quota_of = root / "sys/fs/cgroup" / controllers, _quota_v1
        else:
            continue
        # Inside a container the group's path is the host's, while the mount shows the group itself
        # at its top: folders that do not exist just give no quota.
        folder = base / group.lstrip("/")
        for level in [folder, *folder.parents]:
            quotas.append(quota_of(level))
            if level == base:
                break
    return min((q for q in quotas if q is not None), default=None)


def _quota_v2(folder):
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1(folder):
    quota = _read(folder / "cpu.cfs_quota_us").strip()
    period = _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(path):
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
