"""Results, grouped for the report: which samples count, and the figures in them by name."""

import dataclasses

from . import bootstrap
from .methods import METHODS

COUNTED = ("migrated", "completed")


@dataclasses.dataclass(frozen=True)
class Measure:
    """One figure of a sample. FACTOR turns what is recorded into UNIT."""

    title: str
    unit: str
    of: object  # of a sample; None without it
    factor: float = 1.0


def _sum_of(name):
    return lambda sample: sum(sample[name].values()) if name in sample else None


MIB = 1 << 20
MEASURES = {
    "downtime": Measure("downtime", "ms", lambda sample: sample.get("downtime_ms")),
    "client_gap": Measure("client gap", "ms", lambda sample: sample.get("client_gap_ms")),
    "standstill": Measure("standstill of the program", "ms", lambda sample: sample.get("standstill_ms")),
    "total": Measure("total time", "s", lambda sample: sample.get("total_ms"), 1e-3),
    "bytes": Measure("bytes sent", "MiB", lambda sample: sample.get("bytes_sent"), 1 / MIB),
    "memory": Measure("peak extra memory, both hosts", "MiB", _sum_of("memory_extra"), 1 / MIB),
    "disk": Measure("written to disks", "MiB", _sum_of("disk_bytes"), 1 / MIB),
    "cpu": Measure("CPU time of both hosts", "s", _sum_of("cpu_ms"), 1e-3),
    "completion": Measure("completion time", "s", lambda sample: sample.get("completion_s")),
}


class Results:
    def __init__(self, sessions, samples):
        self.sessions = sessions
        self.samples = list({sample["key"]: sample for sample in samples if not sample["warmup"]}.values())

    @property
    def machine(self):
        return self.sessions[-1]["machine"] if self.sessions else {}

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
