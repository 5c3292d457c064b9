"""Memory that is not private and anonymous arrives, is still shared by its processes, and is not the freeze's burden."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import migrate

MODES = ["cold", "precopy", "postcopy", "hybrid"]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_memory_arrives_and_stays_shared(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "shm_checker", processes=3, rate=4 << 20))
    with Checker(lab, checker) as memory:
        before = memory.assert_right()
        for target in ("node2", "node1"):
            migration = migrate(lab, checker, target, mode=mode)
            assert migration.migrated, migration.why()
            after = memory.assert_right()
            assert after["areas"] == before["areas"]
            if mode != "cold":  # what stays in the freeze is named
                assert migration.report["figures"]["shared_frozen_bytes"] > 0
                assert migration.report["figures"]["shared_frozen_ms"] > 0
            assert after["writes"] > before["writes"]
