"""A series: order, resuming, and going on after failures. The workload and the methods here are stand-ins, which fail
when they are told to; no kernel, runC or CRIU takes part."""

import dataclasses
import json

import pytest

from bench.evaluation import experiments, plan, programs, results, session, workloads
from bench.evaluation.methods import Method, MoveFailed
from bench.evaluation.session import Session
from bench.evaluation.workloads import WorkloadFailed

MACHINE = {"kernel": "6.18", "netem": False, "soft_dirty": False, "versions": {}}


class FakeContainer:
    name, node = "fake", "node1"


class FakeRunning:
    def __init__(self, started):
        self.container = FakeContainer()
        self._started = started
        started.append("start")

    def begin(self):
        pass

    def end(self):
        return {"client_gap_ms": 12.0}

    def check(self):
        pass

    def close(self):
        self._started.append("close")


class FakeLab:
    nodes = ["node1", "node2"]


@pytest.fixture
def world(monkeypatch):
    """What happens: moves, in their order; `plan` says what a method does next."""
    happened, outcomes = [], {}

    class FakeWorkload:
        PARAMETERS = {"mib": 1}

        @staticmethod
        def memory_mib(parameters):
            return parameters["mib"]

        @staticmethod
        def start(lab, node, parameters):
            if outcomes.get("start"):
                raise WorkloadFailed("it does not start")
            return FakeRunning(happened)

    def move(lab, container, method, conditions):
        happened.append(method)
        if todo := outcomes.get(method):
            if error := todo.pop(0):
                raise error
        return {"downtime_ms": 10.0, "total_ms": 100.0}

    monkeypatch.setitem(workloads.WORKLOADS, "fake", FakeWorkload)
    for name in ("a", "b"):
        monkeypatch.setitem(session.METHODS, name, Method(name, None))
    monkeypatch.setitem(session.METHODS, "never", Method("never", None, lambda machine: "not on this kernel"))
    monkeypatch.setattr(session, "_watched_move", move)
    monkeypatch.setattr(workloads, "remove_everywhere", lambda lab, *names: None)
    return happened, outcomes


def suite(methods=("a", "b"), **changes):
    entry = {"name": "x", "workload": "fake", "methods": list(methods), "repetitions": 3, "warmups": 1,
             "conditions": {"settle_s": 0.0, "after_s": 0.0}} | changes
    return experiments.parse({"experiment": [entry]})


def run(suite_, done=frozenset()):
    entries, said = [], []
    Session(suite_, FakeLab(), MACHINE, entries.append, said.append, done).run()
    return entries, said


def test_methods_alternate_after_the_warm_up(world):
    happened, _ = world
    entries, _ = run(suite())
    assert happened == ["start", "a", "b", "a", "b", "b", "a", "a", "b", "close"]
    assert [entry["warmup"] for entry in entries] == [True] * 2 + [False] * 6
    assert {entry["outcome"] for entry in entries} == {"migrated"}


def test_resumed_it_measures_only_what_is_missing(world):
    happened, _ = world
    entries, _ = run(suite())
    happened.clear()
    done = {entry["key"] for entry in entries if not entry["warmup"] and entry["number"] < 3}
    again, _ = run(suite(), done)
    assert [(entry["method"], entry["number"]) for entry in again if not entry["warmup"]] == [("a", 3), ("b", 3)]
    assert run(suite(), {entry["key"] for entry in entries})[0] == []


def test_interrupted_and_resumed_there_is_every_sample_once(world, tmp_path):
    _, outcomes = world
    path = tmp_path / "results.jsonl"
    outcomes["b"] = [None, None, KeyboardInterrupt()]
    with results.Writer(path) as writer, pytest.raises(KeyboardInterrupt):
        Session(suite(), FakeLab(), MACHINE, lambda entry: writer.append("sample", entry), lambda _: None).run()
    done = {sample["key"] for sample in results.read(path)[1] if not sample["warmup"]}
    with results.Writer(path) as writer:
        Session(suite(), FakeLab(), MACHINE, lambda entry: writer.append("sample", entry), lambda _: None, done).run()
    keys = [sample["key"] for sample in results.read(path)[1] if not sample["warmup"]]
    assert sorted(keys) == sorted(set(keys)) and len(keys) == 6


def test_results_of_an_experiment_that_was_changed_are_not_gone_on_with(world):
    before = suite()
    entries, _ = run(before)
    results.check_same("it", entries, before.cells)
    changed = [dataclasses.replace(cell, parameters=cell.parameters | {"mib": 77}) for cell in before.cells]
    with pytest.raises(results.ResultsError, match="other parameters"):
        results.check_same("it", entries, changed)


def test_interrupted_the_container_is_removed(world):
    happened, outcomes = world
    outcomes["a"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run(suite())
    assert happened[-1] == "close"


def test_a_roll_back_is_recorded_and_the_series_goes_on_with_the_same_container(world):
    happened, outcomes = world
    outcomes["a"] = [None, MoveFailed("rolled_back", "no memory on node2")]
    entries, _ = run(suite())
    rolled_back = [entry for entry in entries if entry["outcome"] == "rolled_back"]
    assert [(entry["number"], entry["why"]) for entry in rolled_back] == [(1, "no memory on node2")]
    assert happened.count("start") == 1 and sum(entry["outcome"] == "migrated" for entry in entries) == 7


def test_after_a_failure_the_workload_is_started_anew(world):
    happened, outcomes = world
    outcomes["b"] = [None, MoveFailed("failed", "criu died")]
    entries, _ = run(suite())
    assert happened.count("start") == 2
    assert sum(entry["outcome"] == "migrated" for entry in entries) == 7


def test_a_method_that_never_works_is_given_up_and_the_other_is_measured(world):
    happened, outcomes = world
    outcomes["a"] = [MoveFailed("failed", "no") for _ in range(9)]
    entries, _ = run(suite())
    of_a = [entry["outcome"] for entry in entries if entry["method"] == "a"]
    assert of_a == ["failed", "failed", "given_up", "given_up"]
    assert sum(entry["method"] == "b" and entry["outcome"] == "migrated" for entry in entries) == 4


def test_a_workload_that_does_not_start_is_recorded_as_such(world):
    _, outcomes = world
    outcomes["start"] = True
    entries, _ = run(suite(warmups=0))
    assert [entry["outcome"] for entry in entries] == ["workload_failed"] * 4 + ["given_up"] * 2


def test_what_cannot_run_here_is_said_once(world):
    entries, said = run(suite(methods=["a", "never"]))
    never = [entry for entry in entries if entry["method"] == "never"]
    assert [(entry["outcome"], entry["why"]) for entry in never] == [("unavailable", "not on this kernel")]
    assert any("not on this kernel" in line for line in said)


def test_a_machine_too_small_skips_the_experiment(world):
    happened, _ = world
    entries, said = run(suite(parameters={"mib": 100_000_000}))
    assert [entry["outcome"] for entry in entries] == ["skipped"] * 2 and not happened
    assert "MiB of memory" in said[0]


def test_without_time_each_method_is_still_measured_once(world):
    hurried = suite(warmups=0)
    entries, said = run(experiments.Suite(hurried.title, 1e-9, hurried.cells))
    assert [(entry["method"], entry["number"]) for entry in entries] == [("a", 1), ("b", 1)]
    assert any("no time" in line for line in said)


class FakeProgram:
    PARAMETERS = {"size": 1}

    @staticmethod
    def memory_mib(parameters):
        return parameters["size"]


class FakeRun:
    """A program that has ended at once with the next of RESULTS; an exception is one it failed with."""

    results = []

    def __init__(self, lab, node, program, parameters):
        self.container, self.began, self.ended = FakeContainer(), 0.0, False

    def await_end(self, until_s):
        return until_s > 100  # not before it was moved

    def result(self):
        if isinstance(result := FakeRun.results.pop(0), Exception):
            raise result
        return result

    def close(self):
        pass


@pytest.fixture
def programs_world(world, monkeypatch):
    monkeypatch.setitem(programs.PROGRAMS, "fake-program", FakeProgram)
    monkeypatch.setattr(programs, "RunningProgram", FakeRun)
    monkeypatch.setattr(session, "_watched_move", lambda *_: {"downtime_ms": 1.0, "total_ms": 2.0, "bytes_sent": 3})
    monkeypatch.setattr(session.time, "monotonic", lambda: 10.0)
    return world


def run_programs(results_, **changes):
    FakeRun.results = list(results_)
    return run(suite(["a"], workload="fake-program", warmups=0, **changes))[0]


def test_a_program_is_compared_with_one_that_was_not_moved(programs_world):
    entries = run_programs(["42", "42", "42", "43", "42"])
    assert [entry["outcome"] for entry in entries] == ["completed", "wrong", "completed"]
    assert "not that of a run that was not moved" in entries[1]["why"]
    assert entries[0]["migrations_done"] == 1


def test_a_program_that_fails_by_itself_is_recorded_as_such_and_the_series_goes_on(programs_world):
    entries = run_programs([WorkloadFailed("the residual is wrong"), "42", "42", "42"],
                           conditions={"migrations": 0, "settle_s": 0.0, "after_s": 0.0})
    assert [(entry["outcome"], entry.get("why")) for entry in entries] == [
        ("workload_failed", "the residual is wrong"), ("completed", None), ("completed", None)]


def test_a_program_that_fails_after_a_move_is_the_moves_fault(programs_world):
    entries = run_programs(["42", "42", WorkloadFailed("2 errors"), "42", "42"])
    assert [entry["outcome"] for entry in entries] == ["wrong", "completed", "completed"]


def test_a_program_that_ends_before_it_is_moved_does_not_count(programs_world, monkeypatch):
    monkeypatch.setattr(FakeRun, "await_end", lambda *_: True)
    entries = run_programs(["42"] * 5)
    assert [entry["outcome"] for entry in entries] == ["ended_early", "ended_early", "given_up"]
    assert "when it had been moved 0 of 1 times" in entries[0]["why"]


def test_a_program_that_is_moved_less_often_than_it_should_be_does_not_count(programs_world, monkeypatch):
    monkeypatch.setattr(FakeRun, "await_end", lambda _, until_s: until_s > 5)  # the second move's time
    entries = run_programs(["42"] * 5, conditions={"migrations": 2, "settle_s": 0.0, "after_s": 0.0})
    assert [entry["outcome"] for entry in entries] == ["ended_early", "ended_early", "given_up"]
    assert "when it had been moved 1 of 2 times" in entries[0]["why"]


def test_what_takes_how_long_is_estimated_from_the_file_and_how_slow_this_machine_is():
    def entry(name, seconds):
        return {"name": name, "workload": "redis", "methods": ["godwit-hybrid"], "repetitions": 3, "warmups": 1,
                "sample_s": seconds}

    estimate = plan.Estimate(experiments.parse({"experiment": [entry("x", 2.0), entry("y", 10)]}).cells)
    assert estimate.seconds_left() == 4 * 2 + 4 * 10
    estimate.record("x", 3.0)
    assert estimate.seconds_left() == (3 * 2 + 4 * 10) * 1.5


def test_the_estimate_leaves_out_what_cannot_run_here(world):
    estimate = session.estimate(suite(["a", "never"]).cells, MACHINE)
    assert estimate.samples_left == 4
    assert session.estimate(suite(parameters={"mib": 100_000_000}).cells, MACHINE).samples_left == 0


def test_progress_says_what_is_left(world):
    _, said = run(suite())
    assert said[0].startswith("[7 left, about 0:00 min]") and said[-1].startswith("[0 left")


def test_estimate_is_of_the_same_experiment(world):
    estimate = plan.Estimate(suite().cells)
    assert estimate.seconds_left() == 8 * plan.Estimate.GUESS_S
    estimate.record("x", 10)
    assert estimate.seconds_left() == 70


def test_a_line_without_its_end_is_left_out_and_taken_away(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"kind": "sample", "key": "1"}) + '\n{"kind": "sam')
    assert [sample["key"] for sample in results.read(path)[1]] == ["1"]
    with results.Writer(path) as writer:
        writer.append("sample", {"key": "2"})
    assert [sample["key"] for sample in results.read(path)[1]] == ["1", "2"]


def test_a_file_of_something_else_is_no_result(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"kind": "sample"}\n{"kind": "surprise"}\nhello\n')
    with pytest.raises(results.ResultsError, match="line 2"):
        results.read(path)
