"""A process that cannot be tracked is sent whole at the freeze, and the report says so."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import migrate

BYTES = 32 << 20


@pytest.mark.parametrize("mode", ["precopy", "hybrid"])
def test_process_that_handles_its_own_system_calls(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=BYTES, rate=10 << 20, own_calls=1))
    with Checker(lab, checker) as memory:
        migration = migrate(lab, checker, "node2", mode=mode, options=["--at-limit", "take-downtime"])
        assert migration.migrated, migration.why()
        memory.assert_right()
    report = migration.report
    assert report["mode"] == mode
    assert "1 of 1 processes could not be tracked and were sent whole at the freeze" in report["notes"]
    assert sum(each["pages"] for each in report["rounds"]) == 0
    assert report["figures"]["pages_owed"] >= BYTES // 4096 * 0.9
