"""The report's tables: medians with confidence intervals, godwit against the best other, and what did not work."""

import dataclasses

from . import bootstrap, series
from .series import MEASURES, number, title_of

OURS = "godwit-hybrid"  # what `godwit migrate` does by default, from 4 MiB on
COMPARED = ("downtime", "client_gap", "standstill", "total", "bytes", "memory", "cpu")


@dataclasses.dataclass
class Table:
    name: str
    title: str
    header: list
    rows: list  # of texts


def all_of(results):
    tables = [ratios(results)]
    for experiment in results.experiments():
        if results.of(experiment):
            tables.append(medians(results, experiment))
    tables.append(failures(results))
    return [table for table in tables if table.rows]


def is_ours(method):
    return method.startswith("godwit-")


def cells(results, experiment):
    """(label, values) of the cells that have samples."""
    varied = results.of(experiment)[0]["varied"]
    return list(dict.fromkeys((" ".join(f"{name}={series.value_of(sample, name)}" for name in varied),
                               tuple((name, series.value_of(sample, name)) for name in varied))
                              for sample in results.of(experiment)))


def ratios(results):
    """godwit hybrid ÷ the other method with the best median, by cell."""
    rows = []
    for experiment in results.experiments():
        if not results.of(experiment):
            continue
        for label, chosen in cells(results, experiment):
            row = [f"{results.title(experiment)}{', ' + label if label else ''}"]
            row += [_ratio(results, experiment, dict(chosen), measure) for measure in COMPARED]
            if any(cell != "–" for cell in row[1:]):
                rows.append(row)
    header = ["godwit hybrid ÷ best other", *(MEASURES[measure].title for measure in COMPARED)]
    return Table("ratios", "godwit against the best other method", header, rows)


def _ratio(results, experiment, chosen, measure):
    found = {method: figures for method in results.methods(experiment)
             if (figures := series.values(results.of(experiment, method, **chosen), measure))}
    others = {method: figures for method, figures in found.items() if not is_ours(method) and method != "unmoved"}
    if OURS not in found or not others:
        return "–"
    best = min(others, key=lambda method: bootstrap.median(others[method]))
    below = bootstrap.median(others[best])
    if below <= 0:
        return "–"
    text = f"{bootstrap.median(found[OURS]) / below:.2f}"
    if interval := bootstrap.ratio_interval(found[OURS], others[best]):
        text += f" ({interval[0]:.2f}–{interval[1]:.2f})"
    return f"{text} {best}"


def medians(results, experiment):
    shown = [measure for measure in MEASURES if series.values(results.of(experiment), measure)]
    rows = []
    for label, chosen in cells(results, experiment):
        for method in results.methods(experiment):
            samples = results.of(experiment, method, **dict(chosen))
            if samples:
                rows.append([" ".join(filter(None, [label, title_of(method)])), str(len(samples)),
                             *(_median(samples, measure) for measure in shown)])
    header = ["", "n", *(f"{MEASURES[measure].title}, {MEASURES[measure].unit}" for measure in shown)]
    return Table(f"medians-{experiment}", results.title(experiment), header, rows)


def _median(samples, measure):
    if not (spread := series.spread(samples, measure)):
        return "–"
    middle, low, high, _ = spread
    return number(middle) if low == high else f"{number(middle)} ({number(low)}–{number(high)})"


def failures(results):
    outcomes = {"unavailable": "cannot run here", "skipped": "skipped", "rolled_back": "rolled back", "failed": "failed",
                "wrong": "failed: the workload was not as it must be", "workload_failed": "the workload failed by itself",
                "given_up": "given up", "ended_early": "ended too early"}
    rows = [[results.title(experiment), title_of(method), outcomes.get(outcome, outcome), str(count), why]
            for (experiment, method, outcome, why), count in results.failures().items()]
    return Table("failures", "What did not work, and why", ["experiment", "method", "outcome", "times", "why"], rows)
