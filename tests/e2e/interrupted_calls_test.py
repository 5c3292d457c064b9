"""What sleeps when its container moves goes on sleeping, and does not take the move for the end of its sleep."""

import os
import pathlib
import time

import pytest

from tests.support import container as containers
from tests.support import processes
from tests.support.migration import migrate

NANOSLEEP, CLOCK_NANOSLEEP, POLL, PAUSE, FUTEX = 35, 230, 7, 34, 202


def await_calls(container, are_all=lambda calls: True):
    """The numbers of the calls that its threads sleep in, sorted, when all of them do, and they are as ARE_ALL says."""
    deadline = time.monotonic() + 10
    while True:
        now = [pathlib.Path(f"/proc/{pid}/task/{thread}/syscall").read_text().split()[0]
               for pid in processes.find(container.node, "sleeper") for thread in os.listdir(f"/proc/{pid}/task")]
        # -1: it has not run yet since it was restored.
        if not {"running", "-1"} & set(now) and are_all(calls := sorted(map(int, now))):
            return calls
        assert time.monotonic() < deadline, now
        time.sleep(0.01)


def start_sleeper(lab, *arguments):
    return containers.start(lab, "node1", "sleeper", "10.99.2.23", ["/opt/sleeper", *arguments],
                            rootfs=containers.busybox_rootfs(), options=containers.workloads_at("/opt"))


def test_calls_that_are_interrupted_are_made_again(lab, keep, there_and_back):
    sleeper = keep(start_sleeper(lab))
    joining = FUTEX
    everybody = sorted([NANOSLEEP, CLOCK_NANOSLEEP, CLOCK_NANOSLEEP, CLOCK_NANOSLEEP, POLL, FUTEX, joining])
    await_calls(sleeper, lambda calls: calls == everybody)
    # The kernel may have gone on with a call, which has another number then.
    there_and_back(sleeper, lambda _: assert_none_returned(sleeper, len(everybody)))


def assert_none_returned(sleeper, threads):
    now = await_calls(sleeper)
    assert len(now) == threads and PAUSE not in now, now


@pytest.mark.parametrize("mode", ["cold", "hybrid"])
def test_a_program_that_only_sleeps_does_not_end(lab, keep, mode):
    sleeper = keep(start_sleeper(lab, "--mine"))
    for target in ("node2", "node1"):
        assert (migration := migrate(lab, sleeper, target, mode=mode)).migrated, migration.why()
        await_calls(sleeper)
        assert sleeper.state(lab)["status"] == "running"
