"""A container that writes faster than can be sent gets less CPU time, and all it had as soon as that is no longer of
use: when the migration ends, however it ends, and when the agent is killed."""

import pathlib
import time

import pytest

from tests.faults.states import await_settled
from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.freezer import cgroup_paths
from tests.support.migration import begin, migrate

from .conftest import assert_runs_on

# Rounds last for a second or two each, and do not help for as long as much CPU time is left.
ENDLESS = ["--mode", "precopy", "--bandwidth-max", "40MB/s", "--compress", "none", "--rounds-max", "1000"]
WITHIN_S = 30


class CpuQuota:
    """Of the cgroup of a process: v1's cpu.cfs_quota_us and period, v2's cpu.max. None where nothing limits CPU time."""

    def __init__(self, pid):
        paths = cgroup_paths(pid)
        self._files = []
        if "cpu" in paths:
            at = pathlib.Path("/sys/fs/cgroup/cpu", paths["cpu"])
            self._files = [at / "cpu.cfs_quota_us", at / "cpu.cfs_period_us"]
        elif (unified := pathlib.Path("/sys/fs/cgroup", paths.get("", ""), "cpu.max")).exists():
            self._files = [unified]

    def limits(self):
        return [file.read_text().split() for file in self._files]

    def wait(self, condition):
        end = time.monotonic() + WITHIN_S
        while not condition(self.limits()):
            if time.monotonic() > end:
                raise TimeoutError(f"{self._files}: {self.limits()} for {WITHIN_S} s")
            time.sleep(0.01)


@pytest.fixture
def checker(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20, rate=400 << 20))


@pytest.fixture
def throttled(lab, checker):
    """A migration that throttles, its container's quota, and what that was before."""
    quota = CpuQuota(checker.state(lab)["pid"])
    before = quota.limits()
    if not before:
        pytest.skip("nothing limits CPU time here: no cpu cgroup")
    with begin(lab, checker, "node2", options=ENDLESS) as ongoing:
        quota.wait(lambda limits: limits != before)
        yield ongoing, quota, before


def test_a_cancel_gives_all_back(lab, checker, throttled):
    ongoing, quota, before = throttled
    ongoing.interrupt()
    report = ongoing.result().report
    assert report["outcome"] == "rolled_back" and report["throttle_percent_max"] >= 20
    assert quota.limits() == before


def test_an_agent_that_is_killed_leaves_no_limit(lab, checker, throttled):
    _, quota, before = throttled
    lab.agent("node1", "kill")
    quota.wait(lambda limits: limits == before)
    assert lab.agent_ended("node1")
    lab.agent("node1", "start")
    await_settled(lab)
    assert quota.limits() == before
    assert_runs_on(lab, checker, "node1", not_on="node2")
    with Checker(lab, checker) as memory:
        memory.assert_right()


def test_a_container_that_was_throttled_has_all_on_the_target(lab, checker):
    before = CpuQuota(checker.state(lab)["pid"]).limits()
    if not before:
        pytest.skip("nothing limits CPU time here: no cpu cgroup")
    migration = migrate(lab, checker, "node2", mode="precopy",
                        options=["--bandwidth-max", "100MB/s", "--compress", "none", "--rounds-max", "12",
                                 "--at-limit", "take-downtime"])
    assert migration.migrated and migration.report["throttle_percent_max"] >= 20, migration.why()
    assert CpuQuota(checker.state(lab)["pid"]).limits() == before
    with Checker(lab, checker) as memory:
        memory.assert_right()
