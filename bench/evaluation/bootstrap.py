"""Medians with confidence intervals. The intervals are bootstrapped by percentiles (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13): nothing is assumed about how figures are distributed, which for
times of migrations is far from normal. The random numbers are seeded, so a report is the same each time."""

import random
import statistics

RESAMPLES = 2000
CONFIDENCE = 0.95
_SEED = 20240103


def median(values):
    return statistics.median(values) if values else None


def interval(values, confidence=CONFIDENCE, statistic=statistics.median):
    """(low, high) of the statistic; None for fewer than three values, of which nothing can be said."""
    if len(values) < 3:
        return None
    chooser = random.Random(_SEED)
    found = sorted(statistic(chooser.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return _percentiles(found, confidence)


def ratio_interval(upper, lower, confidence=CONFIDENCE):
    """(low, high) of median(upper) ÷ median(lower), the two measured independently; None as interval()."""
    if min(len(upper), len(lower)) < 3:
        return None
    chooser = random.Random(_SEED)
    found = []
    for _ in range(RESAMPLES):
        below = statistics.median(chooser.choices(lower, k=len(lower)))
        above = statistics.median(chooser.choices(upper, k=len(upper)))
        found.append(above / below if below else float("inf"))
    return _percentiles(sorted(found), confidence)


def _percentiles(ordered, confidence):
    tail = (1 - confidence) / 2
    last = len(ordered) - 1
    return ordered[round(tail * last)], ordered[round((1 - tail) * last)]
