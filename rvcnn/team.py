"""Worker threads that compute one image together."""

import functools
import os
import queue
import threading

from .threads import available_cpus


class Team:
    """A leader's helpers: threads that wait for a program and share its calls.

    Parameters
    ----------
    helpers : int
        Threads beside the one that leads.
    """

    def __init__(self, helpers):
        self.helpers = helpers
        self._jobs = queue.SimpleQueue()
        for i in range(helpers):
            name = f"rvcnn-helper-{i}"
            threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()

    def run(self, lead, help):
        """Lead a program's run; helpers that are busy elsewhere are not waited for."""
        if self._jobs.qsize() <= self.helpers:
            for _ in range(self.helpers):
                self._jobs.put(help)
        lead()

    def each(self, function, count):
        """Call ``function(i)`` for every i below ``count``, on the leader's and helpers' threads.

        The first exception ends the taking of further calls and is raised here.
        """
        share = _Share(function, count)
        self.run(share, share)
        share.wait()
        if share.errors:
            raise share.errors[0]


class _Share:
    """Calls that threads take one by one, whoever comes."""

    def __init__(self, function, count):
        self._function = function
        self._indices = iter(range(count))
        self._change = threading.Condition()
        self._inside = 0
        self.errors = []

    def __call__(self):
        with self._change:
            self._inside += 1
        try:
            for i in self._indices:
                if self.errors:
                    break
                self._function(i)
        except BaseException as error:  # raised again by the leader
            self.errors.append(error)
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    def wait(self):
        """Wait until nobody is inside; whoever comes later finds nothing to take."""
        with self._change:
            while self._inside:
                self._change.wait()


def _work(jobs):
    while True:
        jobs.get()()


@functools.cache
def _team(helpers, process):
    return Team(helpers)


def team_of(threads):
    """The team of this process for so many threads, but no more than the CPUs it may use."""
    return _team(min(threads, available_cpus()) - 1, os.getpid())
