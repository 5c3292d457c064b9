"""What sleeps when its container moves goes on sleeping, and does not take the move for the end of its sleep."""

import os
import pathlib
import time

import pytest

from tests.support import container as containers
from tests.support import processes
from tests.support.migration import migrate
from tests.support.paths import BUILD

NANOSLEEP, CLOCK_NANOSLEEP, POLL, PAUSE, FUTEX = 35, 230, 7, 34, 202


def calls(container):
    """The numbers of the calls that its threads sleep in, sorted, when all of them do."""
    tasks = [pathlib.Path(f"/proc/{pid}/task/{thread}/syscall") for pid in processes.find(container.node, "sleeper")
             for thread in os.listdir(f"/proc/{pid}/task")]
    for _ in range(1000):
        now = [task.read_text().split()[0] for task in tasks]
        if "running" not in now:
            return sorted(map(int, now))
        time.sleep(0.01)
    raise AssertionError(now)


def start_sleeper(lab, *arguments):
    return containers.start(lab, "node1", "sleeper", "10.99.2.23", ["/opt/sleeper", *arguments],
                            rootfs=containers.busybox_rootfs(), options=["--bind", f"{BUILD / 'bin' / 'workloads'}:/opt"])


def await_calls(container, expected):
    deadline = time.monotonic() + 10
    while (now := calls(container)) != expected:
        assert time.monotonic() < deadline, now
        time.sleep(0.01)


def test_calls_that_are_interrupted_are_made_again(lab, keep, there_and_back):
    sleeper = keep(start_sleeper(lab))
    joining = FUTEX
    everybody = sorted([NANOSLEEP, CLOCK_NANOSLEEP, CLOCK_NANOSLEEP, CLOCK_NANOSLEEP, POLL, FUTEX, joining])
    await_calls(sleeper, everybody)
    # The kernel may have gone on with a call, which has another number then.
    there_and_back(sleeper, lambda _: assert_none_returned(sleeper, len(everybody)))


def assert_none_returned(sleeper, threads):
    now = calls(sleeper)
    assert len(now) == threads and PAUSE not in now, now


@pytest.mark.parametrize("mode", ["cold", "hybrid"])
def test_a_program_that_only_sleeps_does_not_end(lab, keep, mode):
    sleeper = keep(start_sleeper(lab, "--mine"))
    for target in ("node2", "node1"):
        assert (migration := migrate(lab, sleeper, target, mode=mode)).migrated, migration.why()
        calls(sleeper)
        assert sleeper.state(lab)["status"] == "running"
