"""A migration that is cancelled while rounds run leaves the container as if it had never begun."""

import pathlib
import re

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin, migrate

from .conftest import assert_runs_on


def tracked_mappings(pid):
    """Lines of smaps whose mapping is registered with a userfaultfd: uw (write-protect), um (missing), ui (minor)."""
    smaps = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    return re.findall(r"^VmFlags:.* (?:uw|um|ui)\b.*$", smaps, re.MULTILINE)


@pytest.fixture
def checker(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=128 << 20, threads=2, rate=100 << 20))


@pytest.fixture
def bounded(lab):
    """Rounds last: what is written cannot be sent as fast."""
    lab.link("node2", "--rate", "400mbit")
    yield
    lab.link("node2", "--rate", "off")


@pytest.mark.parametrize("mode", ["precopy", "hybrid"])
def test_container_goes_on_untracked_after_a_cancel_between_rounds(lab, bounded, checker, mode):
    pid = checker.state(lab)["pid"]
    with Checker(lab, checker) as memory:
        with begin(lab, checker, "node2", mode=mode, options=["--downtime-max", "1ms"]) as ongoing:
            ongoing.await_phase("rounds")
            ongoing.interrupt()
            migration = ongoing.result()
        assert migration.status == 3 and migration.report["outcome"] == "rolled_back", migration.why()
        assert_runs_on(lab, checker, "node1", not_on="node2")
        assert checker.state(lab)["pid"] == pid
        assert tracked_mappings(pid) == []
        writes = memory.assert_right()["writes"]
        assert memory.assert_right()["writes"] > writes


def test_container_moves_after_a_cancel(lab, bounded, checker):
    with Checker(lab, checker) as memory:
        with begin(lab, checker, "node2", mode="hybrid", options=["--downtime-max", "1ms"]) as ongoing:
            ongoing.await_phase("rounds")
            ongoing.interrupt()
            assert ongoing.result().status == 3
        lab.link("node2", "--rate", "off")
        migration = migrate(lab, checker, "node2", mode="hybrid")
        assert migration.migrated, migration.why()
        memory.assert_right()
        assert tracked_mappings(checker.state(lab)["pid"]) == []
