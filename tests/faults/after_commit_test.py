"""After the commit only the target runs the container. An agent that is killed and started again goes on, on either
side; where that cannot be, the copies stay frozen, both agents say so, and an operator's word brings one to run."""

import os
import random
import time

import pytest

from tests.support import container as containers
from tests.support import processes
from tests.support.checker import Checker
from tests.support.lab import CLIENT
from tests.support.migration import begin

from .states import await_copies, await_migration, await_settled, copies

POSTCOPY = ["--mode", "postcopy", "--bandwidth-max", "10MB/s"]
HYBRID = ["--mode", "hybrid", "--bandwidth-max", "10MB/s", "--rounds-max", "1"]


@pytest.fixture
def checker(lab, keep):
    container = keep(containers.start_checker(lab, "node1", "page_checker", bytes=96 << 20, threads=2, rate=10 << 20))
    yield container
    lab.link("node2", "--mend")


@pytest.mark.parametrize("options", [POSTCOPY, HYBRID], ids=["postcopy", "hybrid"])
@pytest.mark.parametrize("killed", [("node1",), ("node2",),
                                    pytest.param(("node1", "node2"), marks=pytest.mark.fast)], ids="+".join)
def test_agents_that_are_killed_and_started_again_bring_it_to_its_end(lab, checker, killed, options):
    with Checker(lab, checker) as memory:
        memory.assert_right()  # all of it is there
    with begin(lab, checker, "node2", options=options) as ongoing:
        ongoing.await_phase("pages")
        began = time.monotonic()
        for node in killed:
            lab.agent(node, "kill")
        for node in reversed(killed):
            lab.agent(node, "start")
        if "node1" not in killed:
            migration = ongoing.result()  # `godwit migrate` speaks to the agent of the source
            assert migration.migrated, migration.why()
    await_settled(lab)
    if options == POSTCOPY:  # nearly all of its memory has come since, within the limit
        assert time.monotonic() - began > 0.8 * (96 << 20) / 10e6
    assert copies(lab, checker.name) == {"node2": "running"}
    checker.node = "node2"
    with Checker(lab, checker) as memory:
        memory.assert_right()


def test_agent_of_the_target_that_is_killed_again_and_again_goes_on(lab, checker):
    with begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        for _ in range(3):
            lab.agent("node2", "kill")  # the last time perhaps with nothing missing any more
            lab.agent("node2", "start")
            await_copies(lab, checker.name, node2="running")
        migration = ongoing.result()
    assert migration.migrated, migration.why()
    await_settled(lab)
    assert copies(lab, checker.name) == {"node2": "running"}
    with Checker(lab, checker) as memory:
        memory.assert_right()


def test_mappings_that_come_and_go_meanwhile_lose_nothing(lab, keep):
    storm = keep(containers.start_checker(lab, "node1", "map_storm", seed=random.randrange(1 << 30), areas=160, pages=128))
    with Checker(lab, storm) as memory:
        while memory.stats()["steps"] < 2000:
            memory.assert_right()
        with begin(lab, storm, "node2", options=POSTCOPY) as ongoing:
            ongoing.await_phase("pages")
            lab.agent("node2", "kill")
            lab.agent("node2", "start")
            migration = ongoing.result()
        assert migration.migrated, migration.why()
        before, end = memory.stats()["steps"], time.monotonic() + 30
        while memory.assert_right()["steps"] == before:
            assert time.monotonic() < end, "it stands still"


@pytest.fixture
def lost(lab, checker):
    """Memory is owed, and both agents have been killed and started again, without those who hold the userfaultfds."""
    with begin(lab, checker, "node2", options=POSTCOPY) as ongoing:
        ongoing.await_phase("pages")
        for node in ("node1", "node2"):
            lab.agent(node, "kill")
        for program in ("godwit-pager", "memory_keeper"):  # the second freezes the container when the first is gone
            (pid,) = processes.find("node2", program)
            pidfd = os.pidfd_open(pid)
            processes.kill(pidfd)
            os.close(pidfd)
            await_copies(lab, checker.name, node2="paused")
        for node in ("node2", "node1"):
            lab.agent(node, "start")
        yield await_migration(lab, "node1", "postcopy-paused")


def ports(lab, container):
    """Those of the LAN's bridge behind which it believes the container to be."""
    mac = lab.exec(CLIENT, "ip", "neigh", "show", container.address).stdout.split()[4]
    entries = lab.exec("lan", "bridge", "fdb", "show").stdout.splitlines()
    return [entry.split()[2] for entry in entries if entry.startswith(mac)]


@pytest.mark.fast
def test_both_copies_stay_frozen_until_an_operator_decides_if_what_is_missing_is_not_known(lab, checker, lost):
    assert copies(lab, checker.name) == {"node1": "paused", "node2": "paused"}
    assert await_migration(lab, "node2", "memory-missing")["id"] == lost["id"]
    assert "postcopy-paused" in lab.exec("node1", "godwit", "ps").stdout
    assert "memory-missing" in lab.exec("node2", "godwit", "ps").stdout
    unread = lab.exec("node1", "godwit", "resolve", lost["id"], "--source", check=False)
    assert unread.returncode == 2 and "You vouch that node2 does not run it" in unread.stderr
    refused = lab.exec("node2", "godwit", "resolve", lost["id"], "--target", "--yes", check=False)
    assert refused.returncode == 1 and "lacks memory" in refused.stderr, refused.stderr
    again = lab.exec("node1", "godwit", "migrate", checker.name, "--to", "node2", check=False)
    assert again.returncode != 0

    lab.exec("node2", "godwit", "resolve", lost["id"], "--source", "--yes")
    await_settled(lab)  # the source asks, and hears that nothing of it is there or will be
    assert copies(lab, checker.name) == {"node1": "running"}
    assert ports(lab, checker) == ["node1"]
    with Checker(lab, checker) as memory:
        memory.assert_right()
