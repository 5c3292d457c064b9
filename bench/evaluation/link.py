"""The link between the lab's two hosts, as the conditions of a cell want it."""

import contextlib
import pathlib
import subprocess
import sys

from tests.support.lab import LabError

_DELAY_LINE = pathlib.Path(__file__).with_name("delay_line.py")


@contextlib.contextmanager
def conditioned(lab, conditions, has_netem):
    """The rate is of node2's uplink, in both directions; the latency of what each of the nodes sends."""
    rate, latency_ms = conditions["link"], conditions["latency_ms"]
    with contextlib.ExitStack() as stack:
        if latency_ms and has_netem:
            stack.enter_context(_netem(lab, rate, latency_ms))
        else:
            if latency_ms:
                stack.enter_context(delayed(lab, latency_ms))
            if rate != "unshaped":
                stack.callback(lab.link, "node2", "--rate", "off")
                lab.link("node2", "--rate", rate)
        yield


@contextlib.contextmanager
def _netem(lab, rate, latency_ms):
    try:
        for node in lab.nodes:
            lab.exec(node, "tc", "qdisc", "replace", "dev", "uplink", "root", "netem", "delay", f"{latency_ms}ms", "limit",
                     "100000", *([] if rate == "unshaped" else ["rate", rate]))
        yield
    finally:
        for node in lab.nodes:
            lab.link(node, "--rate", "off")


@contextlib.contextmanager
def delayed(lab, latency_ms):
    """By a program, where the kernel cannot."""
    with lab.popen("lan", sys.executable, str(_DELAY_LINE), str(latency_ms), *lab.nodes, stdin=subprocess.PIPE,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as line:
        try:
            if line.stdout.readline() != "ready\n":
                raise LabError(f"no latency: {line.stderr.read().strip()[-300:]}")
            yield
        finally:
            line.stdin.close()
            line.wait()
