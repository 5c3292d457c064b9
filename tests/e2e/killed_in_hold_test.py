"""The source's agent dies, or hangs, while its rounds hold the container still for a moment: the container goes on,
and no agent is needed for that."""

import os
import pathlib
import signal
import time
import types

import pytest

from tests.faults.states import await_settled, migrations
from tests.support import container as containers
from tests.support import processes
from tests.support.checker import Checker
from tests.support.freezer import Freezer
from tests.support.migration import begin, migrate

from .conftest import assert_runs_on

# Rounds that last for as long as is needed, of a container that has new mappings in each.
ROUNDS = ["--mode", "precopy", "--bandwidth-max", "20MB/s", "--compress", "none", "--no-throttle", "--rounds-max", "1000"]
TRIES = 200
LET_GO_WITHIN_S = 2  # of itself: no agent is started meanwhile
HELD_AT_MOST_S = 10


@pytest.fixture
def storm(lab, keep):
    return keep(containers.start_checker(lab, "node1", "map_storm", seed=1, areas=160, pages=128, threads=3))


def await_state(pid, states, timeout_s=10):
    end = time.monotonic() + timeout_s
    while pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in states:
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} is not in state {states}")


def stop_agent_in_hold(lab, freezer):
    """The agent stands still, and the container with it: nobody has been told to let it go. Returns the agent's pid."""
    agent = lab.agent_pid("node1")
    (attacher,) = processes.find("node1", "attacher")
    for _ in range(TRIES):
        freezer.wait(True)
        os.kill(agent, signal.SIGSTOP)
        await_state(agent, "T")
        await_state(attacher, "S")  # it has done all that it was asked to
        if freezer.frozen():
            return agent
        os.kill(agent, signal.SIGCONT)
    raise TimeoutError(f"{TRIES} times too late")


def assert_goes_on(memory):
    before = memory.stats()["steps"]
    while memory.assert_right()["steps"] <= before:
        pass


def assert_moves_again(lab, storm, memory):
    await_settled(lab)
    assert_runs_on(lab, storm, "node1", not_on="node2")
    migration = migrate(lab, storm, "node2", mode="hybrid")
    assert migration.migrated, migration.why()
    memory.assert_right()


@pytest.fixture
def held(lab, storm):
    """A migration, its source's agent, which stands still in a hold, the freezer, and what checks the memory."""
    with (Checker(lab, storm) as memory, Freezer(storm.state(lab)["pid"]) as freezer,
          begin(lab, storm, "node2", options=ROUNDS) as ongoing):
        ongoing.await_phase("rounds")
        agent = stop_agent_in_hold(lab, freezer)
        yield types.SimpleNamespace(ongoing=ongoing, agent=agent, freezer=freezer, memory=memory)


def test_container_goes_on_without_an_agent(lab, storm, held):
    lab.agent("node1", "kill")
    held.freezer.wait(False, LET_GO_WITHIN_S)
    assert_goes_on(held.memory)
    assert lab.agent_ended("node1") and not processes.find("node1", "attacher")
    lab.agent("node1", "start")
    assert_moves_again(lab, storm, held.memory)


def test_next_agent_lets_it_go_if_what_held_it_was_killed_too(lab, storm, held):
    (attacher,) = processes.find("node1", "attacher")
    os.kill(attacher, signal.SIGKILL)
    lab.agent("node1", "kill")
    assert held.freezer.frozen()
    lab.agent("node1", "start")
    held.freezer.wait(False, LET_GO_WITHIN_S)
    assert_goes_on(held.memory)
    assert_moves_again(lab, storm, held.memory)


def test_next_agent_waits_for_what_held_it(lab, storm, held):
    """That would thaw it at some time or other, perhaps in the freeze of another migration."""
    (attacher,) = processes.find("node1", "attacher")
    os.kill(attacher, signal.SIGSTOP)
    lab.agent("node1", "kill")
    lab.agent("node1", "start")
    assert any(entry["ongoing"] for entry in migrations(lab, "node1"))
    again = migrate(lab, storm, "node2")
    assert "which is not decided" in again.why(), again.why()
    assert held.freezer.frozen()
    os.kill(attacher, signal.SIGCONT)
    held.freezer.wait(False, LET_GO_WITHIN_S)
    assert_goes_on(held.memory)
    assert_moves_again(lab, storm, held.memory)


def test_agent_that_hangs_does_not_hold_it_for_ever(lab, storm, held):
    held.freezer.wait(False, HELD_AT_MOST_S + LET_GO_WITHIN_S)
    assert_goes_on(held.memory)
    os.kill(held.agent, signal.SIGCONT)
    assert held.ongoing.result().report["outcome"] == "rolled_back"
    assert_moves_again(lab, storm, held.memory)


def test_migration_without_its_attacher_is_rolled_back(lab, storm, held):
    """It would lose sight of memory, and send that in the freeze. Killed in a hold: in the middle of an attachment it would
    take the process that it is attached to with it (src/tracee/attacher.h)."""
    (attacher,) = processes.find("node1", "attacher")
    os.kill(attacher, signal.SIGKILL)
    os.kill(held.agent, signal.SIGCONT)
    migration = held.ongoing.result()
    assert migration.report["outcome"] == "rolled_back" and "attacher" in migration.why(), migration.why()
    held.freezer.wait(False, LET_GO_WITHIN_S)
    assert_goes_on(held.memory)
    assert_moves_again(lab, storm, held.memory)
