"""What the benchmarks of memory have in common: moves in a mode, the bounds of this machine, medians."""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time

from tests.support import container as containers
from tests.support.costs import Sampler
from tests.support.migration import begin

MIB = 1 << 20
GIB = 1 << 30

# memset of memory that no process of this machine has had, as far as one can ask for that: 4 KiB pages, one thread.
_FIRST_TOUCH = """
import ctypes, mmap, sys, time
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
began = time.monotonic()
ctypes.memset(at, 1, size)
print(time.monotonic() - began)
"""


# On a virtual machine, memory that has been free for two seconds may go back to the hypervisor (free page reporting), and
# its next first touch costs three to six times as much.
_WARM = """
import mmap, sys
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for at in range(0, size, 4096):
    memory[at] = 1
"""


class BenchError(Exception):
    """A migration failed or memory was wrong: there is no figure."""


@dataclasses.dataclass
class Options:
    repeat: int
    mode: str
    progress: object  # called with a line

    def say(self, text):
        self.progress(text)


@dataclasses.dataclass
class Move:
    """A migration, its times on CLOCK_MONOTONIC, which the workloads' figures use too, and what it cost its hosts."""

    report: dict
    source: str
    began_s: float
    rounds_s: float | None  # the rounds began
    freeze_s: float | None
    ended_s: float
    costs: dict

    @property
    def source_extra_bytes(self):
        return self.costs[self.source].extra_bytes_of_source

    @property
    def target_extra_bytes(self):
        """Above what there was before; what remains is the container itself."""
        host = self.costs[other_node(self.source)]
        return max(0, host.memory_peak - host.memory_before)

    @property
    def disk_bytes(self):
        return sum(host.disk_bytes for host in self.costs.values())


def other_node(node):
    return {"node1": "node2", "node2": "node1"}[node]


def move(lab, container, mode, *options):
    """Moves the container to the other node; BenchError unless it arrived."""
    source = container.node
    with Sampler(*lab.nodes) as costs:
        began = time.monotonic()
        with begin(lab, container, other_node(source), mode=mode, options=options) as ongoing:
            result = ongoing.result(600)
            rounds_s, freeze_s = (began_s(ongoing, result.report["phases"], phase) for phase in ("rounds", "freeze"))
        ended = time.monotonic()
    if not result.migrated:
        raise BenchError(f"godwit migrate: {result.why()}")
    return Move(result.report, source, began, rounds_s, freeze_s, ended, costs)


def began_s(ongoing, phases, name):
    """When the phase began; None if it did not. A phase's line is read when this process gets to it, which is late while
    all are busy, but never early: of what each line says, with the length of the phases since, the earliest is right."""
    if name not in phases:
        return None
    before = list(phases)[:list(phases).index(name) + 1]
    return min(line_s + sum(phases[each] for each in before[number:-1]) / 1000
               for number, phase in enumerate(before) if (line_s := ongoing.began_s(phase)) is not None)


def start(lab, program, node="node1", name="checker", address="10.99.2.13", **flags):
    lab.exec("client", "ip", "neighbour", "flush", "all")  # of containers that are gone and had the address
    return containers.start_checker(lab, node, program, name=name, address=address, **flags)


def assert_right(checker):
    if not (verdict := checker.ask("verify", 120))["ok"]:
        raise BenchError(f"memory is wrong: {verdict}")


def warm_free_memory(lab, node, size):
    """What is measured next finds SIZE bytes of free memory that this machine really has."""
    lab.exec(node, sys.executable, "-c", _WARM, str(size))


def first_touch_rate(lab, node, size):
    """Bytes per second of memset over SIZE bytes of fresh memory, one thread on the node."""
    warm_free_memory(lab, node, 2 * size)
    return size / float(lab.exec(node, sys.executable, "-c", _FIRST_TOUCH, str(size)).stdout)


def iperf_rate(lab, source, target, streams, seconds=3, congestion_control=None):
    """Bytes per second that the link carries from one node to the other over so many TCP connections."""
    address = f"10.99.1.{target.removeprefix('node')}"
    server = lab.popen(target, "iperf3", "--server", "--port", "5299", stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lab.await_port(address, 5299)
        said = lab.exec(source, "iperf3", "--client", address, "--port", "5299", "--parallel", str(streams), "--time",
                        str(seconds), "--json", *(["--congestion", congestion_control] if congestion_control else []),
                        check=False, timeout_s=seconds + 20)
    finally:
        server.kill()
        server.wait()
    if said.returncode != 0:
        raise BenchError(f"iperf3: {said.stdout[-300:]}")
    return json.loads(said.stdout)["end"]["sum_received"]["bits_per_second"] / 8


def median(values):
    return statistics.median(values)


def quantile(values, part):
    """The smallest value that at least PART of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def pace_between(stats, from_s, to_s):
    """Units per second of a workload's timeline, of the steps that lie within the time, by its own clock; None without
    any."""
    step = stats["step_ms"]
    first = stats["from_ms"] - stats["from_ms"] % step
    chosen = [units for index, units in enumerate(stats["timeline"])
              if first + index * step >= from_s * 1000 and first + (index + 1) * step <= to_s * 1000]
    return sum(chosen) * 1000 / step / len(chosen) if chosen else None


def longest_stall_us(stats, from_s, to_s):
    """Of the stalls that began and ended within the time, by the program's own clock."""
    return max((stall["us"] for stall in stats["stalls"]
                if stall["at_ms"] >= from_s * 1000 and stall["at_ms"] + stall["us"] / 1000 <= to_s * 1000), default=0)

