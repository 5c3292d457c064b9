"""Threads that are bound to a processor are bound to the same one on the target; all others may use all."""

import os
import time

import pytest

from tests.support import container as containers
from tests.support import processes
from tests.support.migration import migrate

THREADS = 3  # two that write, one that listens

pytestmark = pytest.mark.skipif(os.cpu_count() < 2, reason="one processor")


def test_bound_threads_stay_bound(lab, keep):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=8 << 20, threads=2))
    while len(_threads(checker)) != THREADS:  # the one that served the first connection is about to end
        time.sleep(0.01)
    everywhere = _processors(checker)
    assert all(len(processors) == os.cpu_count() for processors in everywhere)
    threads = _threads(checker)
    os.sched_setaffinity(threads[0], {1})
    os.sched_setaffinity(threads[-1], {0})
    before = _processors(checker)
    for target in ("node2", "node1"):
        assert (migration := migrate(lab, checker, target)).migrated, migration.why()
        assert _processors(checker) == before


def _threads(container):
    """Of all its processes, in the order of their numbers in the container, which the move keeps."""
    found = []
    for pid in processes.find(container.node, "page_checker"):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status") as status:
                inner = next(line for line in status if line.startswith("NSpid")).split()[-1]
            found.append((int(inner), int(thread)))
    return [thread for _, thread in sorted(found)]


def _processors(container):
    return [os.sched_getaffinity(thread) for thread in _threads(container)]
