"""Medians and their bootstrapped intervals."""

import random

from bench.evaluation import bootstrap


def test_median_of_nothing_is_nothing():
    assert bootstrap.median([]) is None
    assert bootstrap.median([3, 1, 2]) == 2


def test_no_interval_for_fewer_than_three():
    assert bootstrap.interval([1, 2]) is None
    assert bootstrap.ratio_interval([1, 2, 3], [1, 2]) is None


def test_equal_figures_have_an_interval_of_no_width():
    assert bootstrap.interval([5.0] * 10) == (5.0, 5.0)
    assert bootstrap.ratio_interval([5.0] * 4, [2.5] * 4) == (2.0, 2.0)


def test_interval_holds_the_true_median_about_as_often_as_it_says():
    chooser = random.Random(7)
    held = 0
    for _ in range(60):
        low, high = bootstrap.interval([chooser.expovariate(1) for _ in range(20)])
        held += low <= 0.6931 <= high
    assert 50 <= held <= 60  # 95 % of 60 are 57


def test_interval_is_narrower_with_more_figures():
    chooser = random.Random(7)
    few, many = ([chooser.gauss(100, 10) for _ in range(count)] for count in (8, 200))
    width = {len(values): (lambda low, high: high - low)(*bootstrap.interval(values)) for values in (few, many)}
    assert width[200] < width[8] / 2


def test_the_same_figures_have_the_same_interval():
    assert bootstrap.interval([1, 5, 2, 8, 3]) == bootstrap.interval([1, 5, 2, 8, 3])


def test_ratio_of_what_takes_half_the_time():
    low, high = bootstrap.ratio_interval([10, 11, 12, 10, 11], [20, 22, 24, 20, 22])
    assert low <= 0.5 <= high
    assert bootstrap.ratio_interval([1, 1, 1], [0, 0, 0]) == (float("inf"), float("inf"))
