"""Mappings that come, go, move and fork all the time lose nothing, while rounds run and while pages are missing."""

import random

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin, migrate


@pytest.mark.parametrize("mode", ["cold", "precopy", "postcopy", "hybrid"])
def test_storm_of_mappings_arrives_and_goes_on(lab, keep, mode):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    storm = keep(containers.start_checker(lab, "node1", "map_storm", seed=seed, areas=160, pages=128))
    with Checker(lab, storm) as memory:
        while memory.stats()["steps"] < 2000:  # its size is what it stays at
            memory.assert_right()
        for target in ("node2", "node1"):
            before = memory.stats()["steps"]
            migration = migrate(lab, storm, target, mode=mode, options=["--at-limit", "take-downtime", "--rounds-max", "10"])
            assert migration.migrated, migration.why()
            assert memory.assert_right()["steps"] > before


@pytest.mark.parametrize("mode, phase", [("precopy", "rounds"), ("postcopy", "pages")])
def test_storm_of_thousands_of_steps_in_that_time(lab, keep, mode, phase):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    storm = keep(containers.start_checker(lab, "node1", "map_storm", seed=seed, areas=160, pages=128, threads=3))
    options = ["--bandwidth-max", "20MB/s", "--compress", "none", "--at-limit", "take-downtime", "--rounds-max", "3"]
    with Checker(lab, storm) as memory:
        while memory.stats()["steps"] < 2000:
            memory.assert_right()
        with begin(lab, storm, "node2", mode=mode, options=options) as ongoing:
            ongoing.await_phase(phase)
            first = memory.stats()["steps"]
            if phase == "rounds":
                ongoing.await_round(2)
                last = memory.stats()["steps"]
            migration = ongoing.result()
        assert migration.migrated, migration.why()
        if phase == "pages":
            last = memory.stats()["steps"]
            assert migration.report["phases"]["pages"] >= 500, migration.report["phases"]
        assert last - first >= 2000, (first, last)
        memory.assert_right()
