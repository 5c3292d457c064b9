"""What is to be measured, in its order, and how long it may still take."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Sample:
    """One migration by one method, or one run of a program; the numbers of warm-ups are negative."""

    method: str
    number: int

    @property
    def is_warmup(self):
        return self.number < 0


def key(cell, sample):
    """Tells samples of a suite apart, over all its sessions."""
    return f"{cell.experiment}|{cell.label}|{sample.method}|{sample.number}"


def samples(cell):
    """Warm-ups first; then each method once in every repetition, in turn and in turn backwards (a b c, c b a, …), so
    that a drift of the machine meets all alike, and each is measured in both directions between the hosts."""
    ordered = [Sample(method, -number) for number in range(cell.warmups, 0, -1) for method in cell.methods]
    for number in range(1, cell.repetitions + 1):
        methods = cell.methods if number % 2 else list(reversed(cell.methods))
        ordered += [Sample(method, number) for method in methods]
    return ordered


class Estimate:
    """How long the rest takes: what the file says of an experiment's samples (sample_s), times how much slower or quicker
    those so far were than it says; without that, what samples of the same experiment took, else of any, else a guess."""

    GUESS_S = 4.0

    def __init__(self, cells, done=frozenset()):
        self._left, self._said, self._took = {}, {}, {}
        for cell in cells:
            count = sum(key(cell, sample) not in done for sample in samples(cell))
            self._left[cell.experiment] = self._left.get(cell.experiment, 0) + count
            self._said[cell.experiment] = cell.sample_s

    def record(self, experiment, seconds):
        self._took.setdefault(experiment, []).append(seconds)
        self.leave_out(experiment)

    def leave_out(self, experiment, count=1):
        self._left[experiment] = max(0, self._left[experiment] - count)

    @property
    def samples_left(self):
        return sum(self._left.values())

    def samples_left_of(self, experiment):
        return self._left[experiment]

    def seconds_left(self):
        return sum(map(self.seconds_left_of, self._left))

    def seconds_left_of(self, experiment):
        if self._said[experiment]:
            return self._left[experiment] * self._said[experiment] * self._slowness()
        every = self._took.get(experiment) or [seconds for took in self._took.values() for seconds in took]
        return self._left[experiment] * (statistics.mean(every) if every else self.GUESS_S)

    def _slowness(self):
        """Of this machine against that of the file."""
        took = sum(sum(self._took[name]) for name in self._took if self._said[name])
        said = sum(len(self._took[name]) * self._said[name] for name in self._took if self._said[name])
        return took / said if said else 1.0
