"""What established connections that do nothing add to the downtime: by phase, and in CRIU by system call. CRIU is watched
with bpftrace in moves of their own, since that makes each of its system calls longer by some tenths of a microsecond."""

import collections
import contextlib
import itertools
import json
import pathlib
import re
import signal
import subprocess

from tests.support import table

from .connections import PHASES, echo, moved
from .memory_common import BenchError, median

TITLE = "what idle connections cost, by phase and by system call of CRIU, for each 1,000"
REPEAT = 10
IDLE = [0, 10_000]
SHOWN_US = 0.05  # for each connection; smaller ones are summed up
WAITS = {"recvmsg", "recvfrom", "read", "ppoll", "poll", "wait4", "waitid", "futex", "nanosleep", "clock_nanosleep",
         "epoll_wait", "restart_syscall", "connect"}  # may wait for others, whose time is counted there
CALLS = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
# Of each process named criu: nanoseconds in each system call, and between them; and whose child it is.
PROGRAM = """
tracepoint:raw_syscalls:sys_enter /comm == "criu"/ {
  if (@left[tid]) { @own[pid] = sum(nsecs - @left[tid]); }
  @entered[tid] = nsecs;
  @parent[pid] = curtask->real_parent->tgid;
}
tracepoint:raw_syscalls:sys_exit /comm == "criu" && @entered[tid]/ {
  @calls[pid, args->id] = stats(nsecs - @entered[tid]);
  @left[tid] = nsecs;
  delete(@entered[tid]);
}
END { clear(@left); clear(@entered); }
"""
# bpftrace finds tracepoints in a mounted tracefs; not every machine has one.
TRACEFS = "/sys/kernel/tracing"
WITH_TRACEFS = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                f'mountpoint -q {TRACEFS} || mount -t tracefs tracefs {TRACEFS}; exec "$@"', "sh"]
DUMPS, RESTORES = "dump", "restore"


def run(lab, options):
    return {"idle": [of_idle(lab, idle, options) for idle in IDLE]}


def of_idle(lab, idle, options):
    with contextlib.ExitStack() as stack:
        container, client = echo(lab, stack, 1, idle)
        client.demand("idle")
        reports = [moved(lab, container) for _ in range(options.repeat)]
        options.say(f"{idle:,} idle: downtime {median([report['downtime_ms'] for report in reports]):.1f} ms")
        watched = [watch(lab, container) for _ in range(max(3, options.repeat // 3))]
        alive = client.demand("idle")["alive"]
        client.stop()
    phases = {name: median([report["phases"].get(name, 0) for report in reports]) for name in PHASES}
    return {"idle": idle, "alive": alive, "phases_ms": phases, "criu": medians(watched),
            "downtime_ms": median([report["downtime_ms"] for report in reports]),
            "downtime_watched_ms": median([each["downtime_ms"] for each in watched])}


def watch(lab, container):
    with Watch() as bpftrace:
        report = moved(lab, container)
        return {"downtime_ms": report["downtime_ms"], **bpftrace.end()}


class Watch:
    def __init__(self):
        self._process = subprocess.Popen(
            [*WITH_TRACEFS, "bpftrace", "-q", "-f", "json", "-e", "BEGIN { printf(\"begun\\n\"); }" + PROGRAM],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in self._process.stdout:
            if "begun" in line:
                break

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def end(self):
        """{dump or restore: {name of a system call, or "": [milliseconds, calls]}}"""
        self._process.send_signal(signal.SIGINT)
        out, said = self._process.communicate()
        if self._process.returncode != 0:
            raise BenchError(f"bpftrace: {said.strip()}")
        maps = {}
        for line in out.splitlines():
            if not line.startswith("{"):  # empty ones, from bpftrace 0.17
                continue
            entry = json.loads(line)
            if entry["type"] in ("map", "stats"):
                maps.update(entry["data"])
        return of_roles(maps.get("@own", {}), maps.get("@calls", {}), maps.get("@parent", {}))


def of_roles(own, calls, parents):
    """The process that asks sockets most dumps; the one that sets most restores, with the one that has started it."""
    names = call_names()
    by_pid = collections.defaultdict(dict)
    for key, stats in calls.items():
        pid, number = key.split(",")
        by_pid[pid][names.get(int(number), number)] = (stats["total"] / 1e6, stats["count"])

    def most(name):
        return max(by_pid, key=lambda pid: by_pid[pid].get(name, (0, 0))[1])

    restoring = most("setsockopt")
    roles = {}
    for role, pids in ((DUMPS, {most("getsockopt")}), (RESTORES, {restoring, str(parents.get(restoring))})):
        roles[role] = {}
        for pid in pids & set(by_pid):
            for name, (ms, count) in [*by_pid[pid].items(), ("", (own.get(pid, 0) / 1e6, 0))]:
                before = roles[role].get(name, (0, 0))
                roles[role][name] = (before[0] + ms, before[1] + count)
    return roles


def call_names():
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", CALLS.read_text())}


def medians(watched):
    result = {}
    for role in (DUMPS, RESTORES):
        names = set(itertools.chain.from_iterable(each[role] for each in watched))
        result[role] = {name: [median([each[role].get(name, (0, 0))[part] for each in watched]) for part in (0, 1)]
                        for name in names}
    return result


def per_thousand(result, value):
    none, many = result["idle"]
    return (value(many) - value(none)) / (many["idle"] - none["idle"]) * 1000


def costs(result, role):
    """[(name, ms, calls)] for each 1,000 connections, the largest first; "" is CRIU's own."""
    names = set(itertools.chain.from_iterable(each["criu"][role] for each in result["idle"]))

    def of(name, part):
        return per_thousand(result, lambda each: each["criu"][role].get(name, (0, 0))[part])

    listed = [(name, of(name, 0), of(name, 1)) for name in names if name not in WAITS]
    return sorted(listed, key=lambda cost: -cost[1])


def show(result):
    rows = [["downtime", *(table.ms(each["downtime_ms"]) for each in result["idle"]),
             table.ms(per_thousand(result, lambda each: each["downtime_ms"]))]]
    rows += [[f"  {phase}", *(table.ms(each["phases_ms"][phase]) for each in result["idle"]),
              table.ms(per_thousand(result, lambda each, phase=phase: each["phases_ms"][phase]))] for phase in PHASES]
    rows.append(["downtime, watched", *(table.ms(each["downtime_watched_ms"]) for each in result["idle"]),
                 table.ms(per_thousand(result, lambda each: each["downtime_watched_ms"]))])
    text = table.render(rows, ["", *(f"{each['idle']:,} idle" for each in result["idle"]), "per 1,000"])
    for role in (DUMPS, RESTORES):
        listed = costs(result, role)
        rows = [[name or "CRIU's own", f"{ms:.2f} ms", f"{calls / 1000:.1f}" if name else ""]
                for name, ms, calls in listed if ms > SHOWN_US]
        rows.append(["together", f"{sum(ms for _, ms, _ in listed):.2f} ms", ""])
        text += "\n" + table.render(rows, [f"CRIU, {role}", "per 1,000", "calls for each"])
    return text
