"""What becomes of a container that still misses memory when a process of its target dies: its agent, its pager, or what
guards that one. A missing page never reads as zero, and the agent is not missed at all."""

import os
import time

import pytest

from tests.faults.states import await_copies, await_migration, await_settled, copies
from tests.support import container as containers
from tests.support import processes
from tests.support.checker import Checker
from tests.support.migration import begin

POSTCOPY = ["--mode", "postcopy", "--bandwidth-max", "10MB/s"]
# Of a thread that waits for a page which the source has; a container that is frozen stands still for longer.
FAULT_MS_MAX = 1000


@pytest.fixture
def checker(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20, threads=2, rate=10 << 20))


def kill(program):
    (pid,) = processes.find("node2", program)
    pidfd = os.pidfd_open(pid)
    processes.kill(pidfd)
    os.close(pidfd)


def await_all_memory(lab, container, node, timeout_s=60):
    """Until no page of the container is missing there, as the kernel has it: proc(5), um."""
    end = time.monotonic() + timeout_s
    smaps = f"/proc/{container.state(lab, node)['pid']}/smaps"
    while any(line.startswith("VmFlags:") and " um" in line for line in open(smaps)):
        assert time.monotonic() < end, "memory is still missing"
        assert container.status(lab, node) == "running"
        time.sleep(0.1)


def assert_never_stood_still(memory):
    stats = memory.stats()
    assert stats["longest_stall_us"] < FAULT_MS_MAX * 1000, stats["stalls"][:3]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_container_does_not_notice_that_the_agent_ends(lab, checker, how):
    """stop: SIGTERM, as for an upgrade. All memory arrives without an agent on the target; the next one ends it."""
    with Checker(lab, checker) as memory, begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        memory.stats()
        lab.agent("node2", how)
        await_all_memory(lab, checker, "node2")
        assert_never_stood_still(memory)
        memory.assert_right()
        assert copies(lab, checker.name) == {"node1": "paused", "node2": "running"}  # nobody has told the source
        lab.agent("node2", "start")
        migration = ongoing.result()
        assert migration.migrated, migration.why()
        assert migration.report["postcopy"]["faults"] > 0  # of the pager, which all the time was the same
        memory.assert_right()
    await_settled(lab)


def test_next_agent_passes_the_source_s_connection_on_to_the_pager(lab, checker):
    """Both agents are killed: the source's next one needs a new connection, and the pager is still there."""
    with Checker(lab, checker) as memory, begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        pager = processes.find("node2", "godwit-pager")
        for node in ("node1", "node2"):
            lab.agent(node, "kill")
        assert copies(lab, checker.name)["node2"] == "running"
        for node in ("node2", "node1"):
            lab.agent(node, "start")
        assert processes.find("node2", "godwit-pager") == pager
        await_settled(lab)
        memory.assert_right()
    assert copies(lab, checker.name) == {"node2": "running"}
    checker.node = "node2"


def test_another_pager_takes_over(lab, checker):
    with Checker(lab, checker) as memory, begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        kill("godwit-pager")
        migration = ongoing.result()
        assert migration.migrated, migration.why()
        memory.assert_right()
    await_settled(lab)


def test_container_is_frozen_until_an_agent_starts_another_pager(lab, checker):
    with Checker(lab, checker) as memory, begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        lab.agent("node2", "kill")
        kill("godwit-pager")
        await_copies(lab, checker.name, node1="paused", node2="paused")
        lab.agent("node2", "start")
        migration = ongoing.result()
        assert migration.migrated, migration.why()
        memory.assert_right()
    await_settled(lab)


def test_container_stays_frozen_if_nobody_knows_what_it_lacks(lab, checker):
    """The keeper dies first: nobody but the agent is left to freeze the container when the pager does."""
    with begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        kill("memory_keeper")
        kill("godwit-pager")
        ongoing.await_phase("postcopy-paused")
        missing = await_migration(lab, "node2", "memory-missing")
        assert "memory" in missing["error"]
        await_copies(lab, checker.name, node1="paused", node2="paused")
        lab.agent("node2", "kill")
        lab.agent("node2", "start")
        await_migration(lab, "node2", "memory-missing")
        lab.exec("node2", "godwit", "resolve", missing["id"], "--source", "--yes")
        ongoing.result()
    await_settled(lab)
    assert copies(lab, checker.name) == {"node1": "running"}
    with Checker(lab, checker) as memory:
        memory.assert_right()
