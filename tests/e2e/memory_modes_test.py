"""Memory that is written all the time arrives bit for bit in every mode, and the report says how it travelled."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import migrate

from .conftest import assert_runs_on

BYTES = 256 << 20


def assert_consistent(report, mode):
    """What every report must say, whatever the figures."""
    assert report["pages_sent"] >= BYTES // 4096 * 0.9, report
    assert report["bytes_sent"] > 0 and report["downtime_ms"] > 0 and report["total_ms"] >= report["downtime_ms"]
    for round_ in report["rounds"]:
        assert round_["ms"] > 0 and round_["estimated_downtime_ms"] >= 0, round_
    if mode in ("cold", "postcopy"):
        assert not report["rounds"]
    else:
        assert report["rounds"] and report["rounds"][0]["pages"] >= BYTES // 4096 * 0.9
        assert report["tracking"] == "uffd-wp"
    if mode in ("cold", "precopy"):
        assert report["postcopy"]["pages"] == 0
    if mode == "postcopy":
        assert report["postcopy"]["pages"] >= BYTES // 4096 * 0.9
        assert report["postcopy"]["faults"] > 0 and report["postcopy"]["ms"] > 0


@pytest.mark.parametrize("mode", ["cold", "precopy", "postcopy", "hybrid", "auto"])
def test_memory_under_writing_arrives(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=BYTES, threads=2, rate=80 << 20))
    with Checker(lab, checker) as memory:
        before = memory.assert_right()
        migration = migrate(lab, checker, "node2", mode=mode)
        assert migration.migrated, migration.why()
        after = memory.assert_right()
        assert after["writes"] > before["writes"]
        assert memory.assert_right()["writes"] > after["writes"]
    assert_runs_on(lab, checker, "node2", not_on="node1")
    assert migration.report["mode"] == ("hybrid" if mode == "auto" else mode)
    assert_consistent(migration.report, mode)


@pytest.mark.parametrize("mode", ["precopy", "postcopy", "hybrid"])
def test_random_writes_at_full_speed_into_huge_pages_arrive(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20, pattern="random", huge=1))
    with Checker(lab, checker) as memory:
        migration = migrate(lab, checker, "node2", mode=mode, options=["--at-limit", "take-downtime"])
        assert migration.migrated, migration.why()
        memory.assert_right()


@pytest.mark.parametrize("options", [["--streams", "4"], ["--compress", "zstd"], ["--compress", "lz4", "--streams", "2"]],
                         ids=" ".join)
def test_transport_changes_nothing(lab, keep, options):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20, rate=40 << 20))
    with Checker(lab, checker) as memory:
        migration = migrate(lab, checker, "node2", mode="hybrid", options=options)
        assert migration.migrated, migration.why()
        memory.assert_right()


@pytest.mark.parametrize("tracking", ["uffd-wp", "none"])
def test_tracking_can_be_chosen_and_the_report_says_it(lab, keep, tracking):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=32 << 20, rate=10 << 20))
    with Checker(lab, checker) as memory:
        migration = migrate(lab, checker, "node2", mode="precopy", options=["--tracking", tracking])
        assert migration.migrated, migration.why()
        memory.assert_right()
    assert migration.report["tracking"] == tracking


def test_tracking_that_the_kernel_lacks_is_refused_before_anything_is_touched(lab, keep):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=16 << 20, rate=10 << 20))
    checked = lab.exec("node1", "godwit", "check", checker.name, "--to", "node2").stdout
    if "soft-dirty" in checked:
        pytest.skip("this kernel has soft-dirty bits")
    with Checker(lab, checker) as memory:
        migration = migrate(lab, checker, "node2", mode="hybrid", options=["--tracking", "soft-dirty"])
        memory.assert_right()
    assert not migration.migrated and "cannot find written memory by soft-dirty" in migration.why()
    assert "freeze" not in migration.report["phases"] and "rounds" not in migration.report["phases"]
    assert_runs_on(lab, checker, "node1", not_on="node2")
