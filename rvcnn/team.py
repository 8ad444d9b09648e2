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


def _work(jobs):
    while True:
        jobs.get()()


@functools.cache
def _team(helpers, process):
    return Team(helpers)


def team_of(threads):
    """The team of this process for so many threads, but no more than the CPUs it may use."""
    return _team(min(threads, available_cpus()) - 1, os.getpid())
