"""What a migration costs the program: while rounds run, 10 s after the last page, and after one that was cancelled.

While rounds run: the program has a processor of its own, the last one; both agents, the link between them, and this
measuring, which looks at the hosts' memory all the time, have the others. Its pace between the begin of the rounds and the
freeze, against its pace in the 3 s before the migration; longest stall in the same time, and in as long afterwards while
nothing but a loop runs on each of the other processors: a virtual machine's processor stands still by itself, for longer
if the others are busy.
Afterwards: the pace against that before, and against what became of the pace of the same program, never migrated, in the
same time; one is paused while the other is measured, in turns. Of two programs that nothing is done to one may be faster by
8 %, for where in the machine's memory its pages are: a moved program has others afterwards, one that was cancelled has not.
"""

import contextlib
import os
import subprocess
import sys
import time

from tests.support import table
from tests.support.checker import Checker, own_now_s
from tests.support.freezer import Freezer
from tests.support.migration import begin

from .memory_common import GIB, MIB, BenchError, assert_right, longest_stall_us, median, move, other_node, pace_between, start

TITLE = "slowdown of the program"
WRITERS = {"1 GiB at full speed": {"bytes": GIB, "rate": 0, "check": 0},
           "1 GiB at 100 MB/s": {"bytes": GIB, "rate": 100_000_000, "check": 0}}
STREAMS = {f"{kernel}, {'huge' if huge else '4 KiB'} pages": {"kernel": kernel, "huge": huge, "bytes": 512 * MIB}
           for kernel in ("triad", "random") for huge in (0, 1)}
BEFORE_S = 3
SETTLED_S = 10
WINDOW_S = 1


def run(lab, options):
    result = {"rounds": {}, "after": {}, "cancelled": {}}
    for name, flags in WRITERS.items():
        result["rounds"][name] = while_rounds_run(lab, options, name, flags)
    for name, flags in STREAMS.items():
        result["after"][name] = afterwards(lab, options, name, flags, lambda lab, container: move(
            lab, container, options.mode))
        result["cancelled"][name] = afterwards(lab, options, name, flags, cancelled)
    return result


def while_rounds_run(lab, options, name, flags):
    own = os.cpu_count() - 1

    def on_its_own_processor(config):
        config["linux"].setdefault("resources", {})["cpu"] = {"cpus": str(own)}

    for node in lab.nodes:
        subprocess.run(["taskset", "--all-tasks", "--cpu-list", "--pid", f"0-{own - 1}", str(lab.agent_pid(node))],
                       check=True, stdout=subprocess.DEVNULL)
        # What comes into the LAN: tools/lib/lab_network.sh.
        lab.exec("lan", "sh", "-c", f"echo {(1 << min(own, 32)) - 1:x} >/sys/class/net/{node}/queues/rx-0/rps_cpus")
    container = start(lab, "page_checker", edit=on_its_own_processor, **flags)
    slowdowns, stalls, stalls_beside = [], [], []
    with on_processors(range(own)), Checker(lab, container) as checker:
        for number in range(1, options.repeat + 1):
            stats = checker.stats()
            behind_s = time.monotonic() - own_now_s(stats)
            time.sleep(BEFORE_S)
            moved = move(lab, container, options.mode)
            stats = checker.stats()
            if moved.rounds_s is None:
                raise BenchError(f"mode {options.mode} had no rounds")
            began_s, rounds_s, freeze_s = (at - behind_s for at in (moved.began_s, moved.rounds_s, moved.freeze_s))
            before = pace_between(stats, began_s - BEFORE_S, began_s)
            during = pace_between(stats, rounds_s, freeze_s)
            if during is not None:  # else the rounds took less than a step
                slowdowns.append(1 - during / before)
            stalls.append(longest_stall_us(stats, rounds_s, freeze_s) / 1000)
            stalls_beside.append(longest_stall_of_busy_machine_ms(checker, range(own), freeze_s - rounds_s))
            options.say(f"{number}/{options.repeat} {name}: slowdown "
                        f"{slowdowns[-1] if slowdowns else float('nan'):.1%}, longest stall {stalls[-1]:.1f} ms, "
                        f"without a migration {stalls_beside[-1]:.1f} ms")
        assert_right(checker)
    container.remove(lab)
    return {"slowdown": median(slowdowns) if slowdowns else None, "slowdowns": slowdowns,
            "stalls_ms": stalls, "stalls_beside_ms": stalls_beside}


def longest_stall_of_busy_machine_ms(checker, processors, seconds):
    """In so many seconds while PROCESSORS, which the program does not use, have a loop to run each."""
    loops = []
    try:
        for processor in processors:
            loops.append(subprocess.Popen(["taskset", "--cpu-list", str(processor), sys.executable, "-c",
                                           "while True: pass"]))
        checker.stats()
        time.sleep(seconds)
        return checker.stats()["longest_stall_us"] / 1000
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextlib.contextmanager
def on_processors(numbers):
    """This thread and all that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, numbers)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cancelled(lab, container):
    """A migration that ends after its first round, the container where it was."""
    lab.link("node2", "--rate", "1gbit")
    try:
        with begin(lab, container, other_node(container.node), mode="hybrid",
                   options=["--downtime-max", "1ms"]) as ongoing:
            ongoing.await_round(1)
            ongoing.interrupt()
            if (ended := ongoing.result()).status != 3:
                raise BenchError(f"was not cancelled: {ended.why()}")
    finally:
        lab.link("node2", "--rate", "off")


def afterwards(lab, options, name, flags, act):
    """What ACT does to the pace of a program, beside its like which nothing is done to."""
    changed = start(lab, "stream_like", **flags)
    like = start(lab, "stream_like", name="like", address="10.99.2.14", **flags)
    for container in (changed, like):
        await_work(lab, container)
    before = paces_in_turns(lab, changed, like, options.repeat)
    act(lab, changed)
    time.sleep(SETTLED_S)
    after = paces_in_turns(lab, changed, like, options.repeat)
    for container in (changed, like):
        with Checker(lab, container) as checker:
            assert_right(checker)
        container.remove(lab)
    kept = {name: median(after[name]) / median(before[name]) for name in before}
    slowdown = 1 - kept[changed.name] / kept[like.name]
    options.say(f"{name}, {act.__name__ if act is cancelled else 'moved'}: slowdown {slowdown:.1%}")
    return {"slowdown": slowdown, "before": before, "after": after}


def paces_in_turns(lab, one, other, repeat):
    paces = {one.name: [], other.name: []}
    for number in range(repeat):
        for container, still in ((one, other), (other, one)) if number % 2 == 0 else ((other, one), (one, other)):
            paces[container.name].append(pace_alone(lab, container, still))
    return paces


def await_work(lab, container):
    """It answers when its memory is set up."""
    with Checker(lab, container) as checker:
        checker.stats()


def pace_alone(lab, container, still):
    with Freezer(still.state(lab)["pid"]) as freezer, freezer.standing_still(), Checker(lab, container) as checker:
        checker.stats()
        time.sleep(WINDOW_S)
        stats = checker.stats()
        return pace_between(stats, own_now_s(stats) - WINDOW_S, own_now_s(stats))


def show(result):
    limits = {"1 GiB at full speed": "20%", "1 GiB at 100 MB/s": "3%"}
    rows = []
    for name, found in result["rounds"].items():
        slowdown = "–" if found["slowdown"] is None else f"{found['slowdown']:.1%}"
        rows.append([f"rounds run: {name}", slowdown, *most_and_middle(found["stalls_ms"]),
                     *most_and_middle(found["stalls_beside_ms"]), f"{limits[name]}, 10 ms"])
    for when, text in (("after", "10 s after the last page"), ("cancelled", "after a cancel")):
        rows += [[f"{text}: {name}", f"{found['slowdown']:.1%}", "", "", "", "", "2%"] for name, found in result[when].items()]
    return table.render(rows, ["", "slowdown", "longest stall", "(median)", "no migration's", "(median)", "at most"])


def most_and_middle(values):
    return table.ms(max(values)), table.ms(median(values))
