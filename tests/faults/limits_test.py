"""Each limit of godwit.toml's [limits], just below and just above: what is over it fails with its name, before the
commit, and the container goes on."""

import contextlib
import time

import pytest

from tests.support import container as containers
from tests.support import processes
from tests.support.agent_setup import configured
from tests.support.checker import Checker
from tests.support.intruder import connect, is_closed
from tests.support.migration import begin, migrate

from . import steps
from .scene import Scene
from .states import await_settled, whereabouts

CONTENT = 32 << 20
ROOM = 104 << 20  # what the check on the target wants for it: twice that, for the worst images, and 64 MiB of logs


@pytest.fixture
def checker(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=CONTENT, threads=2, rate=2 << 20))


@contextlib.contextmanager
def limited(lab, node, limit):
    with configured(lab, node, ("[network]", f"[limits]\n{limit}\n\n[network]")):
        yield


def assert_stays(lab, checker, migration, why):
    assert migration.status == 3 and migration.report["outcome"] == "rolled_back", migration.why()
    assert why in migration.why(), migration.why()
    assert_right_on(lab, checker, "node1")


def assert_right_on(lab, checker, node):
    await_settled(lab)
    assert whereabouts(lab, checker.name) == node
    with Checker(lab, checker) as memory:
        memory.assert_right()


# --- How many at once

@pytest.fixture
def other(lab, keep):
    return keep(containers.start_echo(lab, "node1", name="other", address="10.99.2.25"))


def test_one_migration_more_than_may_leave_is_refused(lab, checker, other):
    with limited(lab, "node1", "migrations_max = 1"), begin(lab, checker, "node2", options=steps.SLOW) as first:
        first.await_phase("rounds")
        refused = migrate(lab, other, "node2")
        assert refused.status == 1 and "limits.migrations_max" in refused.why(), refused.why()
        assert other.status(lab, "node1") == "running"
        assert first.result().migrated, first.result().why()
        assert migrate(lab, other, "node2").migrated


def test_one_migration_more_than_may_arrive_is_refused(lab, checker, other):
    with limited(lab, "node2", "migrations_max = 1"), begin(lab, checker, "node2", options=steps.SLOW) as first:
        first.await_phase("rounds")
        refused = migrate(lab, other, "node2")
        assert refused.status == 3 and "limits.migrations_max" in refused.why(), refused.why()
        assert other.status(lab, "node1") == "running"
        assert first.result().migrated, first.result().why()
        assert migrate(lab, other, "node2").migrated


def test_arriving_and_leaving_count_together(lab, checker, keep):
    other = keep(containers.start_echo(lab, "node2", name="other", address="10.99.2.25"))
    with limited(lab, "node2", "migrations_max = 1"), begin(lab, checker, "node2", options=steps.SLOW) as first:
        first.await_phase("rounds")
        refused = migrate(lab, other, "node1")
        assert refused.status == 1 and "limits.migrations_max" in refused.why(), refused.why()
        assert first.result().migrated, first.result().why()


# --- Memory and images on the target

@pytest.mark.parametrize("mode", ["cold", "hybrid"])
def test_memory_over_the_limit_stays_where_it_is(lab, checker, mode):
    with limited(lab, "node2", f"image_bytes_max = {ROOM - (4 << 20)}"):
        migration = migrate(lab, checker, "node2", mode=mode)
        assert_stays(lab, checker, migration, "limits.image_bytes_max")


@pytest.mark.parametrize("mode", ["cold", "hybrid"])
def test_memory_just_under_the_limit_moves(lab, checker, mode):
    with limited(lab, "node2", f"image_bytes_max = {ROOM + (4 << 20)}"):
        assert migrate(lab, checker, "node2", mode=mode).migrated
        assert_right_on(lab, checker, "node2")


# --- Time

def test_target_that_prepares_for_too_long_is_given_up(lab, checker, keep):
    with limited(lab, "node1", "step_timeout_s = 2"), Scene(lab, checker, "cold", keep) as scene:
        steps.prepare(scene)
        migration = scene.ongoing.result()
    assert_stays(lab, checker, migration, "node2 did not answer in time")


def test_target_gives_up_itself_if_its_limit_is_the_shorter(lab, checker, keep):
    with limited(lab, "node2", "step_timeout_s = 2"), Scene(lab, checker, "cold", keep) as scene:
        steps.prepare(scene)
        migration = scene.ongoing.result()
    assert_stays(lab, checker, migration, "prepare on node2 failed")


def test_restore_that_takes_too_long_is_undone(lab, checker, keep):
    with limited(lab, "node2", "step_timeout_s = 2"), Scene(lab, checker, "hybrid", keep) as scene:
        steps.restore(scene)
        migration = scene.ongoing.result()
    assert_stays(lab, checker, migration, "restore on node2 failed")


def test_commit_that_is_not_answered_in_time_is_asked_about(lab, checker, keep):
    with limited(lab, "node1", "step_timeout_s = 2"), Scene(lab, checker, "cold", keep) as scene:
        steps.committed(scene)
        scene.ongoing.await_phase("outcome")
        scene.go_on()
        migration = scene.ongoing.result()
    assert migration.migrated, migration.why()
    assert_right_on(lab, checker, "node2")


def test_step_shorter_than_its_limit_is_waited_for(lab, checker, keep):
    with limited(lab, "node1", "step_timeout_s = 5"), Scene(lab, checker, "cold", keep) as scene:
        steps.prepare(scene)
        lab.exec("client", "sleep", "2")  # the time that the step takes
        scene.go_on()
        assert scene.ongoing.result().migrated
    assert_right_on(lab, checker, "node2")


def stop_pager(scene):
    """It has the target's ends of the data connections."""
    (pager,) = processes.find("node2", "godwit-pager")
    return scene.stop(pager)


@pytest.mark.cleaned_within_s(25)
def test_data_connection_that_moves_nothing_for_too_long_is_given_up(lab, checker, keep):
    with limited(lab, "node1", "idle_timeout_s = 2"), Scene(lab, checker, "precopy", keep) as scene:
        steps.rounds(scene)
        stop_pager(scene)
        migration = scene.ongoing.result()
    assert_stays(lab, checker, migration, "made no progress for 2 s")


def test_data_connection_that_moves_again_in_time_goes_on(lab, checker, keep):
    with limited(lab, "node1", "idle_timeout_s = 4"), Scene(lab, checker, "precopy", keep) as scene:
        steps.rounds(scene)
        let_it_go_on = stop_pager(scene)
        lab.exec("client", "sleep", "2")  # for so long nothing moves
        let_it_go_on()
        assert scene.ongoing.result().migrated, scene.ongoing.result().why()
    assert_right_on(lab, checker, "node2")


# --- Time in which a peer does nothing at all

SLACK_S = 3  # of hosts with other work


@contextlib.contextmanager
def takes(at_least_s, at_most_s):
    begin_s = time.monotonic()
    yield
    took_s = time.monotonic() - begin_s
    assert at_least_s <= took_s <= at_most_s, took_s


def test_host_that_cannot_be_reached_in_time_is_given_up(lab, checker, keep):
    with limited(lab, "node1", "connect_timeout_s = 2"), Scene(lab, checker, "cold", keep) as scene:
        with takes(2, 2 + 5 + SLACK_S):  # then it looks why, for as long as an answer may take
            steps.connect(scene)
            migration = scene.ongoing.result()
    assert "cannot reach node2" in migration.why(), migration.why()
    assert_right_on(lab, checker, "node1")


def test_host_that_can_be_reached_in_time_is(lab, checker, keep):
    with limited(lab, "node1", "connect_timeout_s = 8"), Scene(lab, checker, "cold", keep) as scene:
        steps.connect(scene)
        lab.exec("client", "sleep", "2")  # for so long nothing comes through
        scene.go_on()
        assert scene.ongoing.result().migrated, scene.ongoing.result().why()
    assert_right_on(lab, checker, "node2")


@pytest.mark.parametrize("limit_s", [1, 4])
def test_answer_to_the_end_is_not_waited_for_any_longer(lab, checker, keep, limit_s):
    """A migration that is given up tells the target, which is silent."""
    with limited(lab, "node1", f"answer_timeout_s = {limit_s}"), Scene(lab, checker, "precopy", keep) as scene:
        steps.rounds(scene)
        let_it_go_on = scene.stop(lab.agent_pid("node2"))
        with takes(limit_s, limit_s + SLACK_S):
            lab.exec("node1", "godwit", "cancel", scene.ongoing.id())
            migration = scene.ongoing.result()
        let_it_go_on()
        assert migration.report["outcome"] == "rolled_back", migration.why()
        assert_right_on(lab, checker, "node1")


@pytest.mark.parametrize("port", [7410, 7411])
@pytest.mark.parametrize("limit_s", [1, 4])
def test_who_says_nothing_is_disconnected_in_time(lab, port, limit_s):
    with limited(lab, "node2", f"handshake_timeout_s = {limit_s}"):
        with takes(limit_s - 0.5, limit_s + SLACK_S), connect(lab, "client", "10.99.1.2", port) as silent:
            assert is_closed(silent)


@pytest.mark.cleaned_within_s(25)
def test_link_on_which_nothing_is_acknowledged_is_dead_in_time(lab, checker, keep):
    limit = "peer_dead_after_s = 4\nanswer_timeout_s = 1"  # in which it tells of the end
    with limited(lab, "node1", limit), Scene(lab, checker, "precopy", keep) as scene:
        steps.rounds(scene)
        scene.until_end(lab.link, "node2", "--mend")
        with takes(3, 4 + 1 + SLACK_S):
            lab.link("node2", "--cut")
            migration = scene.ongoing.result()
        lab.link("node2", "--mend")
        assert_stays(lab, checker, migration, "node2")


def test_link_that_is_back_in_time_is_not_dead(lab, checker, keep):
    with limited(lab, "node1", "peer_dead_after_s = 30"), limited(lab, "node2", "peer_dead_after_s = 30"):
        with Scene(lab, checker, "precopy", keep) as scene:
            steps.rounds(scene)
            scene.until_end(lab.link, "node2", "--mend")
            lab.link("node2", "--cut")
            lab.exec("client", "sleep", "12")  # longer than the time that is the default
            lab.link("node2", "--mend")
            assert scene.ongoing.result().migrated, scene.ongoing.result().why()
        assert_right_on(lab, checker, "node2")
