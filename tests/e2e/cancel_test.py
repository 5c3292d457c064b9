"""A cancelled migration leaves the container where it is, whenever the cancel comes before the commit."""

import pytest

from tests.support.gate import gated
from tests.support.migration import begin, migrate

from .conftest import assert_rolled_back


def by_interrupt(lab, ongoing):
    ongoing.interrupt()


def by_command(lab, ongoing):
    said = lab.exec(ongoing.source, "godwit", "cancel", ongoing.id())
    assert "cancelling" in said.stdout


BOTH_WAYS = pytest.mark.parametrize("cancel", [by_interrupt, by_command])


@BOTH_WAYS
def test_before_the_freeze_the_container_never_stops(lab, echo, client, cancel):
    with gated(lab, "node1") as gate, begin(lab, echo, "node2", mode="cold") as ongoing:
        client.mark("before")
        ongoing.await_phase("prepare")
        cancel(lab, ongoing)
        gate.open()
        migration = ongoing.result()
        assert client.mark("during")["max_latency_ms"] < 100
    assert "freeze" not in migration.report["phases"]
    assert_rolled_back(lab, echo, client, migration, "^prepare on node1 failed: cancelled$")


@BOTH_WAYS
def test_during_the_transfer_the_container_goes_on(lab, slow_link, echo, client, cancel):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        cancel(lab, ongoing)
        migration = ongoing.result()
    assert_rolled_back(lab, echo, client, migration, "^restore on node1 failed: cancelled$")
    assert migration.report["bytes_sent"] < 16 << 20  # it did not wait for the rest


@pytest.mark.parametrize("phase", ["dump", "restore"])
def test_as_the_switch_over_goes_on_the_container_comes_back(lab, echo, client, phase):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase(phase)
        ongoing.interrupt()
        migration = ongoing.result()
    assert_rolled_back(lab, echo, client, migration, "^(dump|restore) on node1 failed: cancelled$")


def test_container_moves_after_a_cancelled_migration(lab, slow_link, echo, client):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        ongoing.interrupt()
        assert ongoing.result().status == 3
    lab.link("node2", "--rate", "off")
    migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()


def test_second_interrupt_leaves_but_the_agent_goes_on_cancelling(lab, slow_link, echo, client):
    with begin(lab, echo, "node2", mode="cold") as ongoing:
        ongoing.await_phase("restore")
        ongoing.interrupt()
        ongoing.await_line("cancelling")
        ongoing.interrupt()
        assert ongoing.result().status in (3, 130)  # 3: it was over before the second
    client.mark("left")
    assert echo.status(lab, "node1") == "running"
