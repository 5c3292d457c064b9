"""The pace of a program by its own clock, told by the clock of the host.

CRIU gives what it restores a time namespace, in which CLOCK_MONOTONIC goes on from where it was in the dump: to the
program, no time has passed in between."""

from tests.support.checker import own_now_s


def on_host_clock(began_s, ended_s, first, last):
    """FIRST and LAST are the answers to "stats" (tests/workloads/timeline.h) that were asked for when the host's clock was
    BEGAN_S and ENDED_S; LAST has what was done in between. Returns standstill_ms and pace, in the host's time."""
    step_s = last["step_ms"] / 1000
    stopped_s = max(0.0, ended_s - began_s - (own_now_s(last) - own_now_s(first)))
    return {"standstill_ms": last["longest_stall_us"] / 1000 + stopped_s * 1000,
            "pace": {"unit": last["unit"], "from_s": began_s - last["from_ms"] % last["step_ms"] / 1000,
                     "step_ms": last["step_ms"], "values": _with_pause(last["timeline"], round(stopped_s / step_s))}}


def _with_pause(values, steps):
    """STEPS more of nothing, where the longest time of nothing is; else where there was least."""
    if not values or not steps:
        return values
    begin = end = values.index(min(values))
    run = 0
    for number, value in enumerate([*values, 1]):
        if not value:
            run += 1
            continue
        if run > end - begin:
            begin, end = number - run, number
        run = 0
    return [*values[:begin], *[0] * steps, *values[begin:]]
