"""Memory that was in huge pages is so again: on the target when all of it is there, on the source after a cancel."""

import re
import time

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin, migrate

MIB = 1 << 20
BYTES = 64 * MIB
ENOUGH_S = 60  # a region of 2 MiB takes some milliseconds and a pause of twenty times that


def huge_bytes(lab, container):
    pid = container.state(lab)["pid"]
    said = lab.exec(container.node, "cat", f"/proc/{pid}/smaps_rollup").stdout
    return int(re.search(r"^AnonHugePages:\s+(\d+) kB$", said, re.MULTILINE).group(1)) << 10


def await_huge(lab, container, bytes_min):
    end = time.monotonic() + ENOUGH_S
    while (found := huge_bytes(lab, container)) < bytes_min:
        assert time.monotonic() < end, f"{found >> 20} MiB in huge pages, {bytes_min >> 20} MiB expected"
        time.sleep(0.05)


@pytest.fixture
def huge(lab, keep):
    container = keep(containers.start_checker(lab, "node1", "page_checker", bytes=BYTES, huge=1, rate=20 * MIB))
    assert huge_bytes(lab, container) >= BYTES * 0.9
    return container


@pytest.mark.parametrize("mode", ["cold", "hybrid", "postcopy"])
def test_huge_pages_are_huge_again_on_the_target(lab, huge, mode):
    before = huge_bytes(lab, huge)
    migration = migrate(lab, huge, "node2", mode=mode)
    assert migration.migrated, migration.why()
    await_huge(lab, huge, before)
    with Checker(lab, huge) as memory:
        memory.assert_right()


def test_huge_pages_are_huge_again_after_a_cancel(lab, huge):
    before = huge_bytes(lab, huge)
    with begin(lab, huge, "node2", mode="hybrid", options=["--downtime-max", "1ms", "--bandwidth-max", "50MB/s"]) as ongoing:
        ongoing.await_round(1)
        assert huge_bytes(lab, huge) < before  # tracking has split those that were written
        ongoing.interrupt()
        assert ongoing.result().status == 3
    await_huge(lab, huge, before)
    with Checker(lab, huge) as memory:
        memory.assert_right()
