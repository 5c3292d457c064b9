"""Before the commit whatever fails leaves the container on the source: running, all of its memory right, and nothing
left behind."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin

from .matrix import BEFORE, FAST, FAULTS
from .states import await_settled, copies

CELLS = [pytest.param(step, fault, id=f"{step}, {fault}", marks=[pytest.mark.fast] if (step, fault) in FAST else [])
         for step in BEFORE for fault in FAULTS]


@pytest.fixture
def checker(lab, keep):
    yield keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20, threads=2, rate=10 << 20))
    lab.link("node2", "--mend")


@pytest.mark.cleaned_within_s(25)  # a target notices by itself that its link is gone
@pytest.mark.parametrize("step, fault", CELLS)
def test_one_copy_runs(lab, checker, step, fault):
    phase, options = BEFORE[step]
    with Checker(lab, checker) as memory:
        memory.assert_right()
    with begin(lab, checker, "node2", options=options) as ongoing:
        ongoing.await_phase(phase)
        FAULTS[fault].do(lab, checker)
        migration = ongoing.result()
    lab.link("node2", "--mend")
    ended = "recovered" if "the agent was lost" in migration.why() else migration.report["outcome"]
    assert ended in FAULTS[fault].ends_with, migration.why()
    where = "node2" if ended == "migrated" else "node1"
    await_settled(lab)
    assert copies(lab, checker.name) == {where: "running"}
    with Checker(lab, checker) as memory:
        memory.assert_right()
