"""Whatever fails, in whichever step: one copy runs, all of its memory right, its connection whole, and nothing is left
behind. What else may be is documented, and stands in matrix.py."""

import pytest

from tests.support import container as containers

from .connection import OpenConnection
from .matrix import FAST, FAULTS, FROZEN, SLOW, cells
from .scene import Scene
from .states import assert_frozen_until_resolved, assert_hears_itself, await_settled, whereabouts
from .steps import BEFORE, STEPS


def _cell(step, fault, mode):
    marks = [pytest.mark.fast] if (step, fault, mode) in FAST else []
    marks += [pytest.mark.slow] if fault in SLOW else []
    return pytest.param(step, fault, mode, id=f"{step}, {fault}, {mode}", marks=marks)


@pytest.fixture
def checker(lab, keep):
    return keep(containers.start_checker(lab, "node1", "page_checker", bytes=32 << 20, threads=2, rate=2 << 20))


@pytest.mark.cleaned_within_s(25)  # a target notices by itself that its link is gone
@pytest.mark.parametrize("step, fault, mode", [_cell(*cell) for cell in cells()])
def test_cell(lab, checker, keep, step, fault, mode):
    expected = FAULTS[fault].ends[step]
    with OpenConnection(lab, checker) as connection, Scene(lab, checker, mode, keep) as scene:
        connection.assert_right()
        scene.connection, scene.before_commit = connection, step in BEFORE
        scene.frozen = step in ("dump", "restore", "transfer")
        STEPS[step].reach(scene)
        FAULTS[fault].do(scene)
        scene.go_on()
        if await_settled(lab, or_frozen="frozen" in expected):
            return assert_frozen_until_resolved(lab, checker)
        assert expected != FROZEN
        migration = scene.ongoing.result()
        await_settled(lab)
        where = whereabouts(lab, checker.name)
        assert where in expected, (where, migration.why(), migration.report)
        assert_told(migration, where)
        if where != "ended":
            checker.node = where
            connection.assert_right()
            assert_hears_itself(lab, checker)


def assert_told(migration, where):
    """What the report says is so; an agent that was killed says nothing."""
    if "the agent was lost" in migration.why():
        return
    outcome, state = migration.report["outcome"], migration.report["state"]
    if where == "node2":
        assert outcome == "migrated" and state == "running on node2", migration.report
    elif where == "node1":
        assert outcome == "rolled_back" and state == "running on node1", migration.report
    elif outcome != "migrated":
        assert "running" not in state, migration.report
