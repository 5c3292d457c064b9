"""Migrations between two hosts of the lab, on whatever kernel this runs on; started by older_kernels_test.py there."""

import json
import os

import pytest

from tests.e2e.conftest import assert_runs_on
from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import migrate

BYTES = 16 << 20
TRACKING = os.environ["GODWIT_TRACKING"]  # what this kernel is to be found to have


@pytest.mark.parametrize("mode", ["hybrid", "precopy", "postcopy", "cold"])
def test_memory_under_writing_arrives(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=BYTES, threads=2, rate=100 << 10))
    with Checker(lab, checker) as memory:
        memory.assert_right()
        migration = migrate(lab, checker, "node2", mode=mode, options=["--at-limit", "take-downtime"], timeout_s=300)
        print(json.dumps(migration.report))
        assert migration.migrated, migration.why()
        memory.assert_right()
    assert_runs_on(lab, checker, "node2", not_on="node1")
    report = migration.report
    assert report["mode"] == mode and not any("memory" in note for note in report["notes"]), report
    if mode in ("hybrid", "precopy"):
        assert report["tracking"] == TRACKING
        assert report["rounds"][0]["pages"] >= BYTES // 4096 * 0.9, report
        assert report["rounds"][-1]["pages"] < BYTES // 4096 * 0.5, report
    if mode == "postcopy":
        assert report["postcopy"]["pages"] >= BYTES // 4096 * 0.9, report


def test_the_check_names_the_tracking(lab, keep):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=1 << 20, rate=1 << 20))
    checked = lab.exec("node1", "godwit", "check", checker.name, "--to", "node2")
    assert any("write tracking" in line and TRACKING in line for line in checked.stdout.splitlines()), checked.stdout
