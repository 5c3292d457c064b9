"""Results, grouped for the report: which samples count, and the figures in them by name."""

import dataclasses

from . import bootstrap, results
from .methods import METHODS

COUNTED = ("migrated", "completed")


@dataclasses.dataclass(frozen=True)
class Measure:
    """One figure of a sample. FACTOR turns what is recorded into UNIT."""

    title: str
    unit: str
    of: object  # of a sample; None without it
    factor: float = 1.0
    sides: str | None = None  # what in a sample has it of each host


def _sum_of(name):
    return lambda sample: sum(sample[name].values()) if name in sample else None


def paces(sample):
    """[(seconds from the command on, % of the median before it)] of a program that tells its pace, in steps."""
    if "pace" not in sample:
        return []
    pace, began = sample["pace"], sample["marks_s"]["began"]
    times = [pace["from_s"] + number * pace["step_ms"] / 1000 - began for number in range(len(pace["values"]))]
    usual = bootstrap.median([value for at, value in zip(times, pace["values"]) if at < 0] or pace["values"]) or 1
    return [(at, 100 * value / usual) for at, value in zip(times, pace["values"])]


def _mean_pace(of_interest):
    """OF_INTEREST: of a time and the end of the migration, both from the command on."""
    def mean(sample):
        chosen = [value for at, value in paces(sample) if of_interest(at, _took_s(sample))]
        return sum(chosen) / len(chosen) if chosen else None

    return mean


def _work_lost(sample):
    """From the command until the watch ends, in seconds of the usual pace."""
    if not (found := [value for at, value in paces(sample) if at >= 0]):
        return None
    return sum(100 - value for value in found) / 100 * sample["pace"]["step_ms"] / 1000


def _took_s(sample):
    return sample["marks_s"]["ended"] - sample["marks_s"]["began"]


MIB = 1 << 20
MEASURES = {
    "downtime": Measure("downtime", "ms", lambda sample: sample.get("downtime_ms")),
    "client_gap": Measure("client gap", "ms", lambda sample: sample.get("client_gap_ms")),
    "standstill": Measure("standstill of the program", "ms", lambda sample: sample.get("standstill_ms")),
    "total": Measure("total time", "s", lambda sample: sample.get("total_ms"), 1e-3),
    "bytes": Measure("bytes sent", "MiB", lambda sample: sample.get("bytes_sent"), 1 / MIB),
    "memory": Measure("peak extra memory, both hosts", "MiB", _sum_of("memory_extra"), 1 / MIB, "memory_extra"),
    "disk": Measure("written to disks", "MiB", _sum_of("disk_bytes"), 1 / MIB, "disk_bytes"),
    "cpu": Measure("CPU time of both hosts", "s", _sum_of("cpu_ms"), 1e-3, "cpu_ms"),
    "pace_during": Measure("pace while it moves", "%", _mean_pace(lambda at, end: 0 <= at <= end)),
    "pace_after": Measure("pace after the last page", "%", _mean_pace(lambda at, end: at > end)),
    "work_lost": Measure("work lost", "s", _work_lost),
    "completion": Measure("completion time", "s", lambda sample: sample.get("completion_s")),
}


def load(paths):
    """Results of several runs together; those of emulated machines are experiments of their own."""
    sessions, samples = [], []
    for path in paths:
        own_sessions, own_samples = results.read(path)
        sessions += own_sessions
        samples += map(_apart, own_samples)
    return Results(sessions, samples)


def _apart(sample):
    if not sample["machine"].get("emulated"):
        return sample
    version = ".".join(sample["machine"]["kernel"].split(".")[:2])
    name, title = f"linux-{version.replace('.', '-')}", f"emulated machine with Linux {version}"
    if sample["machine"].get("machines", 1) == 2:
        name, title = f"two-{name}", f"two emulated machines with Linux {version}"
    return sample | {"key": f"{name}|{sample['key']}", "experiment": f"{sample['experiment']}-{name}",
                     "title": f"{sample['title']}, {title}"}


class Results:
    def __init__(self, sessions, samples):
        self.sessions = sessions
        self.samples = list({sample["key"]: sample for sample in samples if not sample["warmup"]}.values())

    @property
    def machine(self):
        """Of the last session on a real machine, if there is one."""
        machines = [session["machine"] for session in self.sessions]
        return next((machine for machine in reversed(machines) if not machine.get("emulated")), (machines or [{}])[-1])

    @property
    def emulated(self):
        """Machines besides that: of each kernel one alone and one of two."""
        return list({(machine["kernel"], machine.get("machines", 1)): machine
                     for machine in (session["machine"] for session in self.sessions) if machine.get("emulated")}.values())

    @property
    def commands(self):
        return list(dict.fromkeys(session["command"] for session in self.sessions))

    def experiments(self):
        return list(dict.fromkeys(sample["experiment"] for sample in self.samples))

    def of(self, experiment, method=None, good=True, **values):
        """Samples of an experiment, those that count unless GOOD is false; VALUES: parameters and conditions."""
        return [sample for sample in self.samples
                if sample["experiment"] == experiment and (method is None or sample["method"] == method)
                and (not good or sample["outcome"] in COUNTED)
                and all(value_of(sample, name) == value for name, value in values.items())]

    def title(self, experiment):
        return next(sample["title"] for sample in self.samples if sample["experiment"] == experiment)

    def varied(self, experiment):
        """The name of what differs between the experiment's cells; None if nothing does."""
        names = next(sample["varied"] for sample in self.samples if sample["experiment"] == experiment)
        return names[0] if names else None

    def methods(self, experiment):
        """With samples that count, in the order of METHODS."""
        there = {sample["method"] for sample in self.of(experiment)}
        return [name for name in ["unmoved", *METHODS] if name in there]

    def failures(self):
        """(experiment, method, outcome, why): how many times."""
        counts = {}
        for sample in self.samples:
            if sample["outcome"] not in COUNTED:
                entry = sample["experiment"], sample["method"], sample["outcome"], sample.get("why", "")[:300]
                counts[entry] = counts.get(entry, 0) + 1
        return counts


def value_of(sample, name):
    return (sample["parameters"] | sample["conditions"]).get(name)


def values(samples, measure):
    """The figures of those that have it, in the measure's unit."""
    found = MEASURES[measure]
    return [figure * found.factor for sample in samples if (figure := found.of(sample)) is not None]


def share_of_source(samples, measure):
    """Median of what part of the figure is the source's; None of what is not one of each host."""
    if not (name := MEASURES[measure].sides):
        return None
    shares = [sample[name]["source"] / total for sample in samples if (total := sum(sample.get(name, {}).values())) > 0]
    return bootstrap.median(shares)


def spread(samples, measure):
    """(median, low, high, count) or None; low and high are the median where there are too few for an interval."""
    figures = values(samples, measure)
    if not figures:
        return None
    middle = bootstrap.median(figures)
    low, high = bootstrap.interval(figures) or (min(figures), max(figures))
    return middle, low, high, len(figures)


def title_of(method):
    return "not moved" if method == "unmoved" else METHODS[method].title


def number(value):
    """Three digits that mean something."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
