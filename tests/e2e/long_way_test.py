"""Between hosts with 10 ms between them: nothing is lost, and the way is open when the container freezes."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.latency import delayed
from tests.support.migration import migrate

from .conftest import assert_runs_on


@pytest.mark.parametrize("mode", ["cold", "precopy", "postcopy", "hybrid"])
def test_over_a_long_way_the_images_find_it_open(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=32 << 20, threads=2, rate=5 << 20))
    with Checker(lab, checker) as memory, delayed(lab, 10):
        migration = migrate(lab, checker, "node2", mode=mode)
        assert migration.migrated, migration.why()
        memory.assert_right()
    assert_runs_on(lab, checker, "node2", not_on="node1")
    assert migration.report["figures"]["filler_bytes"] >= 2 * 128 << 10


def test_over_a_short_way_there_is_no_need(lab, keep):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=16 << 20, rate=5 << 20))
    with Checker(lab, checker) as memory:
        migration = migrate(lab, checker, "node2", mode="hybrid")
        assert migration.migrated, migration.why()
        memory.assert_right()
    assert migration.report["figures"]["filler_bytes"] == 0
