"""The program's clock stands still while CRIU has it; the evaluation's does not."""

import pytest

from bench.evaluation.own_clock import on_host_clock


def stats(from_ms, window_ms, timeline=(), longest_stall_us=0):
    return {"unit": "page", "from_ms": from_ms, "window_ms": window_ms, "step_ms": 100, "timeline": list(timeline),
            "longest_stall_us": longest_stall_us}


def test_a_clock_that_went_on_changes_nothing():
    found = on_host_clock(50, 50.6, stats(0, 1020), stats(1020, 600, [7, 8, 0, 8, 8, 8], 40_000))
    assert found["standstill_ms"] == pytest.approx(40)
    assert found["pace"]["values"] == [7, 8, 0, 8, 8, 8]
    assert found["pace"]["from_s"] == pytest.approx(49.98)  # its steps begin at whole tenths of its seconds


def test_time_that_the_clock_stood_still_counts_and_is_where_nothing_was_done():
    found = on_host_clock(50, 51, stats(0, 1000), stats(1000, 600, [0, 8, 8, 0, 0, 8], 240_000))
    assert found["standstill_ms"] == pytest.approx(640)
    assert found["pace"]["values"] == [0, 8, 8, 0, 0, 0, 0, 0, 0, 8]
    assert found["pace"]["from_s"] == pytest.approx(50)


def test_without_a_step_of_nothing_it_is_where_least_was_done():
    found = on_host_clock(50, 50.7, stats(0, 1000), stats(1000, 600, [8, 8, 2, 5, 8, 8], 30_000))
    assert found["pace"]["values"] == [8, 8, 0, 2, 5, 8, 8]


def test_nothing_is_taken_from_a_program_that_was_asked_late():
    found = on_host_clock(50, 50.5, stats(0, 1000), stats(1000, 600, [], 10_000))
    assert found["standstill_ms"] == pytest.approx(10) and found["pace"]["values"] == []
