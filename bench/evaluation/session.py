"""Measures a suite in the lab, sample by sample, and records each as soon as it is there. What fails is recorded with
its reason, the workload is started anew, and the series goes on; a method that has never worked in a cell is given up
after two attempts. Interrupted at any time, it leaves nothing behind but the results."""

import contextlib
import time

from tests.support.client import ClientError
from tests.support.lab import LabError

from . import link
from . import machine as machines
from . import methods, plan, programs, workloads
from .costs import Watch
from .methods import METHODS, MoveFailed
from .workloads import WorkloadFailed

ATTEMPTS = 2
# Of a program, what it may take with migrations, times what it takes without, and this.
PROGRAM_SLACK_S = 120
UNMOVED = "unmoved"  # the method of runs of a program that is not moved


class Session:
    """RECORD is called with each sample, SAY with lines of progress. DONE: keys of samples that are there already."""

    def __init__(self, suite, lab, machine, record, say, done=frozenset()):
        self._suite, self._lab, self._machine = suite, lab, machine
        self._record_entry, self._say, self._done = record, say, set(done)
        self._estimate = plan.Estimate(suite.cells, self._done)
        self._references = {}
        self._began = time.monotonic()

    def run(self):
        for number, cell in enumerate(self._suite.cells):
            todo = [sample for sample in plan.samples(cell) if plan.key(cell, sample) not in self._done]
            if not any(not sample.is_warmup for sample in todo):
                continue
            if reason := obstacle(cell, self._machine):
                self._leave_out(cell, cell.methods, "skipped", reason)
                continue
            todo = self._without_unavailable(cell, todo)
            deadline = self._deadline(number)
            with link.conditioned(self._lab, cell.conditions, self._machine["netem"]):
                run = self._run_program if cell.workload in programs.PROGRAMS else self._run_service
                run(cell, todo, deadline)

    # --- What is left out ---

    def _without_unavailable(self, cell, todo):
        for name in cell.methods:
            if why := unavailable(name, self._machine):
                self._leave_out(cell, [name], "unavailable", why)
                todo = [sample for sample in todo if sample.method != name]
        return todo

    def _leave_out(self, cell, names, outcome, why):
        for name in names:
            self._say(f"{cell.experiment} {cell.label} {name}: {outcome}: {why}")
            first = plan.Sample(name, 1)
            if plan.key(cell, first) not in self._done:
                self._record(cell, first, {"outcome": outcome, "why": why})
            count = sum(sample.method == name and plan.key(cell, sample) not in self._done
                        for sample in plan.samples(cell))
            self._estimate.leave_out(cell.experiment, count)

    def _deadline(self, number):
        """When the cell has had its share of what is left of the budget; None without one."""
        if not self._suite.budget_s:
            return None
        now = time.monotonic()
        left = max(0.0, self._began + self._suite.budget_s - now)
        weights = [len(plan.samples(cell)) * (cell.sample_s or plan.Estimate.GUESS_S) for cell in self._suite.cells[number:]]
        return now + left * weights[0] / sum(weights)

    # --- Services: one container, moved again and again ---

    def _run_service(self, cell, todo, deadline):
        attempts = Attempts()
        running = engine = None
        try:
            for sample in todo:
                if self._give_up(cell, sample, attempts, deadline):
                    continue
                began = time.monotonic()
                if running and engine != METHODS[sample.method].engine:
                    self._close(running)
                    running = None
                engine = METHODS[sample.method].engine
                started_s = 0.0
                try:
                    if not running:
                        running = self._start(cell, engine)
                        started_s = round(time.monotonic() - began, 3)
                    entry, still_right = self._one_move(cell, sample, running)
                except WorkloadFailed as failure:
                    entry, still_right = {"outcome": "workload_failed", "why": str(failure)}, False
                if not still_right and running:
                    self._close(running)
                    running = None
                attempts.note(sample, entry["outcome"])
                self._record(cell, sample, entry | {"start_s": started_s}, time.monotonic() - began)
        finally:
            if running:
                self._close(running)

    def _start(self, cell, engine):
        try:
            options = {} if engine == "runc" else {"engine": engine}
            running = workloads.WORKLOADS[cell.workload].start(self._lab, "node1", cell.parameters, **options)
        except (WorkloadFailed, LabError, ClientError, OSError) as error:
            workloads.remove_everywhere(self._lab, workloads.NAME)
            raise WorkloadFailed(str(error)) from error
        return running

    def _one_move(self, cell, sample, running):
        """(the entry, whether the workload is as it must be and can be moved again)."""
        entry = {"source": running.container.node}
        try:
            entry |= measure(self._lab, running, sample.method, cell.conditions)
            began = time.monotonic()
            running.check()
            return entry | {"outcome": "migrated", "check_s": round(time.monotonic() - began, 3)}, True
        except MoveFailed as failure:
            entry |= {"outcome": failure.outcome, "why": str(failure)}
        except (WorkloadFailed, LabError, OSError) as error:
            entry |= {"outcome": "wrong", "why": str(error)}
        if entry["outcome"] == "rolled_back":
            with contextlib.suppress(WorkloadFailed, LabError):
                running.check()
                return entry, True
            entry |= {"outcome": "wrong", "why": f"after a roll-back it is not as it was: {entry['why']}"}
        return entry, False

    def _close(self, running):
        try:
            running.close()
        except (LabError, ClientError, OSError) as error:
            self._say(f"while removing the container: {error}")

    # --- Programs that end: one container for each run ---

    def _run_program(self, cell, todo, deadline):
        attempts = Attempts()
        for sample in todo:
            if self._give_up(cell, sample, attempts, deadline):
                continue
            began = time.monotonic()
            try:
                entry = self._one_run(cell, sample)
            except MoveFailed as failure:
                entry = {"outcome": failure.outcome, "why": str(failure)}
            except WorkloadFailed as failure:
                outcome = "workload_failed" if sample.method == UNMOVED else "wrong"
                entry = {"outcome": outcome, "why": str(failure)}
            except (LabError, OSError) as failure:
                entry = {"outcome": "workload_failed", "why": str(failure)}
            attempts.note(sample, entry["outcome"])
            self._record(cell, sample, entry, time.monotonic() - began)

    def _one_run(self, cell, sample):
        if sample.method == UNMOVED:
            self._reference(cell, 1)
            return self._completed(cell, UNMOVED, 0, PROGRAM_SLACK_S) | {"outcome": "completed"}
        result, usual_s = self._reference(cell, 2)
        entry = self._completed(cell, sample.method, cell.conditions["migrations"], usual_s)
        if entry.pop("result") != result:
            raise WorkloadFailed("its result is not that of a run that was not moved")
        done, wanted = entry["migrations_done"], cell.conditions["migrations"]
        if done < wanted:
            return {"outcome": "ended_early",
                    "why": f"it ended after {entry['completion_s']:.1f} s, when it had been moved {done} of {wanted} times"}
        return entry | {"outcome": "completed"}

    def _reference(self, cell, runs):
        """(result, seconds) of RUNS or more that were not moved. The first of a session is slow, its files are not in
        memory yet; the shortest time counts."""
        name = self._reference_name(cell)
        while len(self._references.get(name, [])) < runs:
            self._completed(cell, UNMOVED, 0, PROGRAM_SLACK_S)
        result, _ = self._references[name][0]
        return result, min(took_s for _, took_s in self._references[name])

    @staticmethod
    def _reference_name(cell):
        return cell.workload, tuple(sorted(cell.parameters.items()))

    def _completed(self, cell, method, migrations, usual_s):
        """One run, moved so often at even distances of the time that it usually takes."""
        program = programs.PROGRAMS[cell.workload]
        running = programs.RunningProgram(self._lab, "node1", program, cell.parameters)
        moves = []
        try:
            for number in range(1, migrations + 1):
                # The last well before the end, should this run be quicker than usual.
                if running.await_end(running.began + usual_s * number / (migrations + 1.5)):
                    break
                try:
                    moves.append(_watched_move(self._lab, running.container, method, cell.conditions))
                except MoveFailed:
                    if not running.ended:  # else there was nothing left to move
                        raise
            if not running.await_end(time.monotonic() + 3 * usual_s + PROGRAM_SLACK_S):
                raise WorkloadFailed("it did not end")
            took_s = time.monotonic() - running.began
            result = running.result()
        finally:
            running.close()
        if not migrations:
            self._references.setdefault(self._reference_name(cell), []).append((result, took_s))
        return _figures_of_run(took_s, moves, result)

    # --- All of them ---

    def _give_up(self, cell, sample, attempts, deadline):
        if attempts.hopeless(sample):
            why = f"failed {ATTEMPTS} times and was not tried again"
            if not sample.is_warmup:
                self._record(cell, sample, {"outcome": "given_up", "why": why})
            self._estimate.leave_out(cell.experiment)
            return True
        if deadline and time.monotonic() > deadline and sample.number > 1:
            if attempts.first_left_out():
                self._say(f"{cell.experiment} {cell.label}: repetitions from {sample.number} on are left out: no time")
            self._estimate.leave_out(cell.experiment)
            return True
        return False

    def _record(self, cell, sample, entry, took_s=None):
        entry.pop("result", None)
        self._record_entry({
            "key": plan.key(cell, sample), "experiment": cell.experiment, "title": cell.title,
            "workload": cell.workload, "parameters": cell.parameters, "conditions": cell.conditions,
            "varied": cell.varied, "method": sample.method, "number": sample.number, "warmup": sample.is_warmup,
            "sample_s": took_s and round(took_s, 3),
        } | entry)
        if took_s is None:
            return
        self._estimate.record(cell.experiment, took_s)
        self._say(f"{self._left()}  {cell.experiment} {cell.label} {sample.method} {sample.number}: {brief(entry)}")

    def _left(self):
        minutes, seconds = divmod(round(self._estimate.seconds_left()), 60)
        return f"[{self._estimate.samples_left} left, about {minutes}:{seconds:02} min]"


def obstacle(cell, machine):
    """Why the cell cannot be measured on the machine; None if it can."""
    kind = (workloads.WORKLOADS | programs.PROGRAMS)[cell.workload]
    return machines.no_room(cell, kind.memory_mib(cell.parameters), workloads.processes(kind, cell.parameters))


def unavailable(method, machine):
    """Why the method cannot run on the machine; None if it can."""
    return METHODS[method].unavailable(machine) if method in METHODS else None


def estimate(cells, machine):
    """Of what can be measured on the machine, at its beginning."""
    found = plan.Estimate(cells)
    for cell in cells:
        left_out = cell.methods if obstacle(cell, machine) else [m for m in cell.methods if unavailable(m, machine)]
        found.leave_out(cell.experiment, sum(sample.method in left_out for sample in plan.samples(cell)))
    return found


class Attempts:
    """How each method fares in a cell."""

    def __init__(self):
        self._failed, self._worked = {}, set()
        self._told = False

    def note(self, sample, outcome):
        if outcome in ("migrated", "completed", "rolled_back"):
            self._worked.add(sample.method)
        else:
            self._failed[sample.method] = self._failed.get(sample.method, 0) + 1

    def hopeless(self, sample):
        return sample.method not in self._worked and self._failed.get(sample.method, 0) >= ATTEMPTS

    def first_left_out(self):
        told, self._told = self._told, True
        return not told


def measure(lab, running, method, conditions):
    """One move of a service: its figures, its costs, and what its client and the program itself saw."""
    running.begin()
    time.sleep(conditions["settle_s"])
    figures = _watched_move(lab, running.container, method, conditions)
    time.sleep(conditions["after_s"])
    return figures | running.end()


def _watched_move(lab, container, method, conditions):
    source = container.node
    with Watch(lab, container.name, source, methods.other_node(source)) as watch:
        figures = METHODS[method].move(lab, container, conditions)
        figures["marks_s"]["ended"] = time.monotonic()
    return figures | watch.result()


def _figures_of_run(took_s, moves, result):
    return {"completion_s": round(took_s, 3), "migrations_done": len(moves), "result": result,
            "downtime_ms": sum(move["downtime_ms"] for move in moves),
            "moves": [{name: move[name] for name in ("downtime_ms", "total_ms", "bytes_sent")} for move in moves]} | (
        {name: moves[0][name] for name in moves[0] if name != "downtime_ms"} if len(moves) == 1 else {})


def brief(entry):
    """For a line of progress."""
    if entry["outcome"] not in ("migrated", "completed"):
        return f"{entry['outcome']}: {entry.get('why', '')}"[:200]
    said = [] if "completion_s" not in entry else [f"completed in {entry['completion_s']:.1f} s"]
    for name, text in (("downtime_ms", "downtime"), ("client_gap_ms", "client gap"), ("standstill_ms", "stood still"),
                       ("total_ms", "total")):
        if name in entry:
            said.append(f"{text} {entry[name]:.0f} ms")
    return ", ".join(said)
