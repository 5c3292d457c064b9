"""The target, or the way to it, is lost before the commit: the container goes on, and nothing of it stays there."""

import time

import pytest

from tests.support.gate import gated
from tests.support.migration import begin, migrate

from .conftest import assert_rolled_back


def await_gone(lab, container, node, timeout_s=25):
    """A host whose link is cut notices by itself; until then it may hold what it restored, and does not run it."""
    end = time.monotonic() + timeout_s
    while container.status(lab, node) is not None and time.monotonic() < end:
        time.sleep(0.1)


def test_agent_of_the_target_dies_during_the_transfer(lab, slow_link, echo, client):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        lab.agent("node2", "kill")
        migration = ongoing.result()
    try:
        assert_rolled_back(lab, echo, client, migration, "^restore on node1 failed: the control connection to node2 is lost")
    finally:
        lab.agent("node2", "start")


def test_agent_of_the_target_dies_while_it_prepares(lab, echo, client):
    with gated(lab, "node2") as gate, begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("prepare")
        lab.agent("node2", "kill")
        gate.open()
        migration = ongoing.result()
        lab.agent("node2", "start")
    assert_rolled_back(lab, echo, client, migration, "^prepare on node1 failed: .*connection to node2 is lost")


def test_container_moves_to_a_target_whose_agent_had_died(lab, slow_link, echo, client):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        lab.agent("node2", "kill")
        assert ongoing.result().status == 3
    lab.agent("node2", "start")
    lab.link("node2", "--rate", "off")
    migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()


@pytest.mark.cleaned_within_s(25)  # the target notices by itself
def test_link_is_cut_during_the_transfer(lab, slow_link, echo, client):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        lab.link("node2", "--cut")
        migration = ongoing.result()
    try:
        await_gone(lab, echo, "node2")
        assert_rolled_back(lab, echo, client, migration, "^restore on node1 failed: the control connection to node2 is lost")
    finally:
        lab.link("node2", "--mend")


@pytest.mark.cleaned_within_s(25)
@pytest.mark.parametrize("node", ["node1", "node2"])
def test_an_uplink_goes_down_in_the_switch_over(lab, slow_link, echo, client, node):
    """Its carrier is lost, as when a cable is pulled."""
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        lab.exec("lan", "ip", "link", "set", node, "down")
        try:
            migration = ongoing.result()
            await_gone(lab, echo, "node2")
        finally:
            lab.exec("lan", "ip", "link", "set", node, "up")
    assert_rolled_back(lab, echo, client, migration, "^restore on node1 failed: the control connection to node2 is lost")
