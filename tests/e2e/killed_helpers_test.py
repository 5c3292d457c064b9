"""runC or CRIU dies, on either host, in any phase: the container goes on where it was."""

import contextlib
import os
import time

import pytest

from tests.support import container as containers
from tests.support import processes
from tests.support.conversation import Conversation
from tests.support.migration import begin, migrate

from .conftest import assert_rolled_back, assert_runs_on

VICTIMS = {
    "criu on the source": ("node1", processes.criu),
    "runc on the source": ("node1", lambda node: processes.runc(node, "checkpoint")),
    "criu on the target": ("node2", processes.criu),
    "runc on the target": ("node2", lambda node: processes.runc(node, "restore")),
}


@pytest.fixture
def victim(request, lab):
    node, find = VICTIMS[request.param]

    class Victim:
        def find(self):
            self._pidfd = find(node)

        def kill(self):
            processes.kill(self._pidfd)
            os.close(self._pidfd)

    return Victim()


@pytest.mark.parametrize("victim, error", [
    ("criu on the source", "^(dump|hold) on node1 failed: criu ended"),
    ("runc on the source", "^(dump|hold) on node1 failed: runc ended"),
], indirect=["victim"])
def test_death_while_it_is_dumped(lab, echo, client, victim, error):
    with begin(lab, echo, "node2", mode="hybrid") as ongoing:
        ongoing.await_phase("rounds")
        with processes.criu_stopped("node1"):
            victim.find()
            ongoing.await_phase("dump")
            victim.kill()
        migration = ongoing.result()
    assert_rolled_back(lab, echo, client, migration, error)


@pytest.mark.parametrize("victim, error", [
    ("criu on the target", "^restore on node2 failed: criu ended"),
    ("runc on the target", "^restore on node2 failed: runc ended"),
], indirect=["victim"])
@pytest.mark.parametrize("mode", ["precopy", "hybrid"])
def test_death_on_the_target_while_memory_is_sent(lab, slow_link, echo, client, mode, victim, error):
    """The source sees only that connections end; the target says why."""
    with begin(lab, echo, "node2", mode=mode) as ongoing:
        ongoing.await_phase("rounds")
        victim.find()
        victim.kill()
        migration = ongoing.result()
    assert_rolled_back(lab, echo, client, migration, error)


def test_criu_dies_at_any_moment_of_the_dump(lab, echo, client):
    """While it has the container's threads do what it wants, and its connections in repair mode, too."""
    for tenths_ms in range(0, 60, 4):
        with begin(lab, echo, "node2", mode="cold") as ongoing:
            ongoing.await_phase("freeze")
            criu = processes.criu("node1")
            ongoing.await_phase("dump")
            moment = time.perf_counter() + tenths_ms / 10_000
            while time.perf_counter() < moment:
                pass
            processes.kill(criu)
            os.close(criu)
            migration = ongoing.result()
        client.mark("CRIU was killed")
        if migration.migrated:  # it was too late
            back = migrate(lab, echo, "node1")
            assert back.migrated, back.why()
            continue
        assert migration.report["outcome"] == "rolled_back", migration.why()
        assert_runs_on(lab, echo, "node1", not_on="node2")
        with Conversation(lab, echo.address, containers.ECHO_PORT) as verifier:
            assert verifier.ask("verify") == "ok"


@pytest.mark.parametrize("victim, error", [
    ("criu on the source", "^hold on node1 failed: criu ended at post-dump$"),
    ("runc on the source", "^hold on node1 failed: runc ended at post-dump$"),
    ("criu on the target", "^restore on node2 failed: criu ended"),
    ("runc on the target", "^restore on node2 failed: runc ended"),
], indirect=["victim"])
def test_death_while_its_images_are_sent(lab, slow_link, echo, client, victim, error):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        victim.find()
        victim.kill()
        migration = ongoing.result()
    assert_rolled_back(lab, echo, client, migration, error)


@pytest.mark.parametrize("victim, error", [
    ("criu on the target", "^restore on node2 failed: criu ended"),
    ("runc on the target", "^restore on node2 failed: runc ended"),
], indirect=["victim"])
def test_death_while_it_is_restored(lab, echo, client, victim, error):
    with begin(lab, echo, "node2", mode="hybrid") as ongoing, contextlib.ExitStack() as held:
        ongoing.await_phase("rounds")
        with processes.criu_stopped("node1"):
            victim.find()
            held.enter_context(processes.criu_stopped("node2"))
        ongoing.await_phase("restore")
        victim.kill()
        held.close()
        migration = ongoing.result()
    assert_rolled_back(lab, echo, client, migration, error)


def test_container_moves_after_criu_died_on_both_sides(lab, slow_link, echo, client):
    for node in lab.nodes:
        with begin(lab, echo, "node2", mode="cold") as ongoing:
            ongoing.await_phase("restore")
            criu = processes.criu(node)
            processes.kill(criu)
            os.close(criu)
            assert ongoing.result().status == 3
    lab.link("node2", "--rate", "off")
    migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()
