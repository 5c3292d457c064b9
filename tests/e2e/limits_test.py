"""The limits that users set are kept: rounds, time, bandwidth."""

import pytest

from tests.support import container as containers
from tests.support.agent_setup import configured
from tests.support.checker import Checker
from tests.support.migration import begin, migrate

from .conftest import assert_runs_on

# For a container that writes at full speed.
HOPELESS = ["--downtime-max", "1ms", "--no-throttle", "--bandwidth-max", "64MiB/s"]


@pytest.fixture
def restless(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20))


@pytest.mark.parametrize("limit", [["--rounds-max", "3"], ["--timeout", "0.5s"]], ids=" ".join)
def test_at_the_limit_precopy_rolls_back(lab, restless, limit):
    migration = migrate(lab, restless, "node2", mode="precopy", options=[*HOPELESS, *limit])
    assert migration.status == 3 and migration.report["outcome"] == "rolled_back", migration.why()
    assert_runs_on(lab, restless, "node1", not_on="node2")
    if "--rounds-max" in limit:
        assert len(migration.report["rounds"]) == 3
    with Checker(lab, restless) as memory:
        memory.assert_right()


def test_at_the_limit_precopy_takes_the_downtime_if_asked(lab, restless):
    options = [*HOPELESS, "--rounds-max", "2", "--at-limit", "take-downtime"]
    migration = migrate(lab, restless, "node2", mode="precopy", options=options)
    assert migration.migrated, migration.why()
    assert len(migration.report["rounds"]) == 2
    with Checker(lab, restless) as memory:
        memory.assert_right()


def test_bandwidth_is_kept_within_five_percent(lab, keep):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=128 << 20, rate=1 << 20))
    migration = migrate(lab, checker, "node2", mode="hybrid",
                        options=["--bandwidth-max", "64MiB/s", "--compress", "none"])
    assert migration.migrated, migration.why()
    first = migration.report["rounds"][0]
    rate = first["bytes"] / first["ms"] * 1000 / (1 << 20)
    assert 64 * 0.95 <= rate <= 64 * 1.05, first


def test_bandwidth_of_the_host_is_shared_by_what_leaves_it(lab, keep):
    checkers = [keep(containers.start_checker(lab, "node1", "page_checker", name=name, address=address,
                                              bytes=64 << 20, rate=1 << 20))
                for name, address in (("first", "10.99.2.14"), ("second", "10.99.2.15"))]
    options = ["--compress", "none", "--rounds-max", "1", "--at-limit", "take-downtime"]
    with configured(lab, "node1", ("[network]", f"[limits]\nbandwidth_max = {48 << 20}\n\n[network]")):
        with begin(lab, checkers[0], "node2", mode="precopy", options=options) as first:
            with begin(lab, checkers[1], "node2", mode="precopy", options=[*options, "--bandwidth-max", "1GB/s"]) as second:
                migrations = [first.result(), second.result()]
    assert all(migration.migrated for migration in migrations), [migration.why() for migration in migrations]
    rounds = [migration.report["rounds"][0] for migration in migrations]
    together = sum(entry["bytes"] for entry in rounds) / max(entry["ms"] for entry in rounds) * 1000 / (1 << 20)
    assert together <= 48 * 1.05, rounds
    for checker in checkers:
        with Checker(lab, checker) as memory:
            memory.assert_right()
