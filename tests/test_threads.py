import os
import threading
import time

import pytest

from rvcnn import threads
from rvcnn.threads import available_cpus, cgroup_cpus, ordered_map


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_items_order(workers):
    def slow_first(i):
        time.sleep(0.02 if i % 4 == 0 else 0)
        return i * i

    assert list(ordered_map(slow_first, range(40), workers, 8)) == [i * i for i in range(40)]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_items_give_no_results(workers):
    assert list(ordered_map(abs, [], workers, 4)) == []


def test_several_calls_run_at_once():
    barrier = threading.Barrier(3, timeout=10)
    assert list(ordered_map(lambda _: barrier.wait() >= 0, range(3), 3, 3)) == [True] * 3


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_the_look_ahead_is_bounded(ahead):
    taken = 0

    def source():
        nonlocal taken
        for i in range(50):
            taken += 1
            yield i

    for done, _ in enumerate(ordered_map(abs, source(), 2, ahead)):
        assert taken <= done + ahead


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_is_raised_in_its_place(workers):
    def fail_at_five(i):
        if i == 5:
            raise KeyError("five")
        return i

    results = ordered_map(fail_at_five, range(10), workers, 10)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="five"):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_of_the_source_waits_for_the_results_before_it(workers):
    def source():
        yield from range(4)
        raise OSError("source")

    results = ordered_map(abs, source(), workers, 3)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="source"):
        next(results)


def test_closing_starts_no_further_call():
    started = []

    def record(i):
        started.append(i)
        time.sleep(0.01)
        return i

    results = ordered_map(record, range(1000), 2, 50)
    next(results)
    results.close()
    count = len(started)
    time.sleep(0.05)
    assert count < 60
    assert len(started) == count


@pytest.mark.parametrize(("workers", "ahead"), [(0, 4), (2, 0), (-1, 1)])
def test_nonsense_is_refused(workers, ahead):
    with pytest.raises(ValueError, match="at least 1"):
        ordered_map(abs, [1], workers, ahead)


def group(root, lines, files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("lines", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        # A container sees the host's path but its own group at the mount's top.
        ("0::/docker/0123\n", {"cpu.max": "300000 100000"}, 3.0),
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/1\n",
            {
                "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
        ("nonsense\n", {}, None),
    ],
)
def test_cgroup_quota(tmp_path, lines, files, cpus):
    assert cgroup_cpus(group(tmp_path, lines, files)) == cpus


def test_no_proc_is_no_quota(tmp_path):
    assert cgroup_cpus(tmp_path) is None


@pytest.mark.parametrize(
    ("count", "affinity", "quota", "expected"),
    [(16, 16, None, 16), (16, 4, None, 4), (16, 8, 1.2, 2), (2, 2, 64.0, 2), (4, 4, 0.1, 1)],
)
def test_available_cpus_is_the_least_limit(monkeypatch, count, affinity, quota, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(threads, "cgroup_cpus", lambda: quota)
    assert available_cpus() == expected


def test_available_cpus_without_affinity_or_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(threads, "cgroup_cpus", lambda: None)
    assert available_cpus() == 1
