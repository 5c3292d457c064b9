"""What clients see of a move: the longest wait beyond the downtime, beside that of a mere pause as long, with few and
many connections and with streams; what a packet capture at the client has of retransmissions and resets; what ten
thousand connections cost, here and where runC and CRIU are driven by a script."""

import contextlib
import dataclasses
import itertools
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from tests.support import client as clients
from tests.support import container as containers
from tests.support import table
from tests.support.freezer import Freezer
from tests.support.lab import CLIENT
from tests.support.migration import migrate
from tests.support.paths import workload

from .baselines import ScriptError, by_script
from .memory_common import BenchError, median, other_node, quantile

TITLE = "what clients see: client gap − downtime, retransmissions and resets, many connections"
REPEAT = 20
CONNECTIONS = [1, 100, 1000]
IDLE = [0, 2500, 5000, 10_000]
STREAM_RATE = "1gbit"  # of both hosts' uplinks, while streams are measured
STREAM_PORT = 7009
# One for each container: the address of one that is gone is still announced for a while, with another MAC.
_ADDRESSES = (f"10.99.2.{number}" for number in itertools.count(100))
PHASES = ["freeze", "dump", "transfer", "restore", "resume"]
# What tshark finds in the client's capture. Keep-alives and window probes are not among them.
RETRANSMISSION = "tcp.analysis.retransmission || tcp.analysis.fast_retransmission"
RESET = "tcp.flags.reset == 1"
CATCHES_UP_S = 0.3  # with what it has missed in a pause, a client does within this time


@dataclasses.dataclass
class Case:
    name: str
    start: object  # of (lab, stack): (container, client)
    moves: int
    finish: str = ""  # the client's last command


def run(lab, options):
    return {"cases": [measured(lab, case, options) for case in cases(options.repeat)],
            "idle": [with_idle(lab, idle, max(3, options.repeat // 4), options) for idle in IDLE]}


def cases(moves):
    for count in CONNECTIONS:
        yield Case(f"{count:,} in use", lambda lab, stack, count=count: echo(lab, stack, count), moves)
    for direction in ("up", "down"):
        yield Case(f"a stream {direction}", lambda lab, stack, way=direction: stream(lab, stack, way), moves, "finish")


def measured(lab, case, options):
    gaps, downtimes, beside = [], [], []
    with contextlib.ExitStack() as stack:
        container, client = case.start(lab, stack)
        capture = stack.enter_context(Capture(lab, container.address))
        for number in range(case.moves):
            client.mark("before")
            report = moved(lab, container)
            during = client.mark("during")
            client.mark("after")
            # The same for a container that only stands still for as long: what the client then has to catch up with.
            with Freezer(container.state(lab)["pid"]) as freezer:
                paused_ms = freezer.stand_still(report["downtime_ms"])
            time.sleep(CATCHES_UP_S)
            beside.append(client.mark("pause")["max_latency_ms"] - paused_ms)
            gaps.append(during["max_latency_ms"] - report["downtime_ms"])
            downtimes.append(report["downtime_ms"])
            options.say(f"{case.name}: {number + 1}/{case.moves}: downtime {downtimes[-1]:.1f} ms, client gap "
                        f"{during['max_latency_ms']:.1f} ms")
        if case.finish:
            client.demand(case.finish)
        capture.end()
        client.stop()
        seen = capture.found()
    return {"name": case.name, "moves": case.moves, "gap_minus_downtime_ms": gaps, "downtime_ms": downtimes,
            "gap_minus_pause_ms": beside, **seen}


def with_idle(lab, idle, moves, options):
    """IDLE connections that are used before the first move and after the last."""
    reports = []
    with contextlib.ExitStack() as stack:
        container, client = echo(lab, stack, 1, idle)
        client.demand("idle")
        for _ in range(moves):
            reports.append(moved(lab, container))
            options.say(f"{idle:,} idle: downtime {reports[-1]['downtime_ms']:.1f} ms")
        alive = client.demand("idle")["alive"]
        alone = by_script_alone(lab, container, max(3, moves // 4), options)
        client.stop()
    phases = {name: median([report["phases"].get(name, 0) for report in reports]) for name in PHASES}
    return {"idle": idle, "alive": alive, "moves": moves, "phases": phases, "alone": alone,
            "downtime_ms": median([report["downtime_ms"] for report in reports])}


def by_script_alone(lab, container, moves, options):
    """What runC and CRIU need for the same container without godwit, which moves it back; None: they cannot move it."""
    downtimes = []
    try:
        for _ in range(moves):
            downtimes.append(by_script(container, "stop_and_copy"))
            options.say(f"runC and CRIU alone: downtime {downtimes[-1]:.1f} ms")
            moved(lab, container)
    except (ScriptError, subprocess.TimeoutExpired) as failure:
        options.say(f"runC and CRIU alone: {failure}")
        return None
    return median(downtimes)


def moved(lab, container):
    result = migrate(lab, container, other_node(container.node))
    if not result.migrated:
        raise BenchError(f"godwit migrate: {result.why()} {result.report.get('log')}")
    return result.report


def echo(lab, stack, connections, idle=0):
    container = started(lab, stack, "echo", containers.echo_command())
    lab.await_port(container.address, containers.ECHO_PORT)
    # Many connections ask as often in all as the machine answers beside the rest.
    pace_us = 500 if connections == 1 else connections * 250
    client = clients.echo_client(lab.prefix(CLIENT), host=container.address, connections=connections, idle=idle,
                                 pace_us=pace_us)
    return container, stack.enter_context(client)


def stream(lab, stack, direction):
    for node in lab.nodes:
        lab.link(node, "--rate", STREAM_RATE)
        stack.callback(lab.link, node, "--rate", "off")
    container = started(lab, stack, "bytes", ["/bin/byte_server", "--port", str(STREAM_PORT)])
    lab.await_port(container.address, STREAM_PORT)
    client = clients.MeasuringClient([*lab.prefix(CLIENT), workload("byte_client"), "--host", container.address,
                                      "--direction", direction])
    return container, stack.enter_context(client)


def started(lab, stack, name, command):
    def many_files(config):
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 16384, "soft": 16384}]

    container = containers.start(lab, "node1", name, next(_ADDRESSES), command, rootfs=containers.workload_rootfs(),
                                 output=False, edit=many_files)
    stack.callback(container.remove, lab)
    return container


class Capture:
    """Headers of all packets between the client and ADDRESS."""

    def __init__(self, lab, address):
        self._directory = tempfile.TemporaryDirectory(prefix="godwit-bench-", dir="/dev/shm")
        self._file = pathlib.Path(self._directory.name) / "capture"
        self._process = lab.popen(CLIENT, "tcpdump", "-i", "eth0", "-s", "100", "-B", "65536", "-Z", "root", "-w",
                                  str(self._file), "host", address, stderr=subprocess.PIPE, text=True)
        self._process.stderr.readline()  # "listening on …"
        self._said = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()
        self._directory.cleanup()

    def end(self):
        self._said = self._stop()

    def found(self):
        """How many packets there were, and how many of them were sent again and resets. After end()."""
        if "\n0 packets dropped by kernel" not in self._said:
            raise BenchError(f"the capture is not complete: {self._said}")
        # Once through it for both: some minutes for a stream.
        found = subprocess.run(["tshark", "-r", str(self._file), "-Y", f"{RETRANSMISSION} || {RESET}", "-T", "fields",
                                "-e", "tcp.flags.reset"], capture_output=True, text=True, check=True,
                               stdin=subprocess.DEVNULL)
        resets = [line in ("1", "True") for line in found.stdout.split()]
        return {"packets": int(re.search(r"(\d+) packets? captured", self._said)[1]),
                "retransmissions": resets.count(False), "resets": resets.count(True)}

    def _stop(self):
        if self._process.poll() is not None:
            return ""
        self._process.send_signal(signal.SIGINT)
        return self._process.communicate()[1]


def per_thousand(measurements, value):
    """The slope of VALUE over the number of idle connections, by least squares, for each 1,000."""
    xs = [measurement["idle"] / 1000 for measurement in measurements]
    ys = [value(measurement) for measurement in measurements]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return (sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys)) /
            sum((x - middle_x) ** 2 for x in xs))


def show(result):
    rows = [[case["name"], table.ms(median(case["downtime_ms"])), *middle_and_tail(case["gap_minus_downtime_ms"]),
             *middle_and_tail(case["gap_minus_pause_ms"]), str(case["retransmissions"]), str(case["resets"]),
             str(case["moves"])] for case in result["cases"]]
    text = table.render(rows, ["connections", "downtime", "gap − downtime", "p99", "a mere pause's", "p99", "sent again",
                               "resets", "moves"])
    text += "  targets: gap − downtime ≤ 5 ms, p99 ≤ 15 ms; nothing sent again where the link is idle; no resets\n\n"
    idle = result["idle"]
    rows = [[f"{measurement['idle']:,}", f"{measurement['alive']:,}", table.ms(measurement["downtime_ms"]),
             *(table.ms(measurement["phases"][name]) for name in PHASES), as_ms(measurement["alone"])]
            for measurement in idle]
    alone = [measurement for measurement in idle if measurement["alone"] is not None]
    rows.append(["per 1,000", "", table.ms(per_thousand(idle, lambda each: each["downtime_ms"])),
                 *(table.ms(per_thousand(idle, lambda each, name=name: each["phases"][name])) for name in PHASES),
                 as_ms(per_thousand(alone, lambda each: each["alone"]) if len(alone) > 1 else None)])
    return text + table.render(rows, ["idle", "alive", "downtime", *PHASES, "a script's"]) + \
        "  target: ≤ 5 ms per 1,000, or what of it is CRIU's"


def middle_and_tail(values):
    return table.ms(median(values)), table.ms(quantile(values, 0.99))


def as_ms(value):
    return "–" if value is None else table.ms(value)
