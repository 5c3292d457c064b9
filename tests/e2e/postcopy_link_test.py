"""The link is lost while pages still follow the container: it waits for them, and nothing is lost."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin

from .conftest import assert_runs_on


@pytest.fixture
def checker(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=128 << 20, threads=2, rate=20 << 20))


@pytest.fixture
def mended(lab):
    yield
    lab.link("node1", "--mend")


def test_memory_follows_when_the_link_is_back(lab, keep, checker, mended):
    with Checker(lab, checker) as memory:
        memory.assert_right()  # all of it is there
    with begin(lab, checker, "node2", mode="postcopy", options=["--bandwidth-max", "10MB/s"]) as ongoing:
        ongoing.await_phase("pages")
        lab.link("node1", "--cut")
        ongoing.await_phase("postcopy-paused", timeout_s=60)
        assert "postcopy-paused" in lab.exec("node1", "godwit", "ps").stdout
        assert checker.name in lab.exec("node1", "runc", "list", "-q").stdout  # the source keeps its copy
        lab.link("node1", "--mend")
        migration = ongoing.result()
    assert migration.migrated, migration.why()
    assert_runs_on(lab, checker, "node2", not_on="node1")
    with Checker(lab, checker) as memory:
        memory.assert_right()
