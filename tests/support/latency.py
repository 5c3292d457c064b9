"""Latency in the lab's LAN, by a program: the kernel may have no sch_netem."""

import contextlib
import pathlib
import subprocess
import sys

from .lab import LabError

_DELAY_LINE = pathlib.Path(__file__).with_name("delay_line.py")


@contextlib.contextmanager
def delayed(lab, latency_ms):
    """What each node sends into the LAN takes so many ms longer."""
    with lab.popen("lan", sys.executable, str(_DELAY_LINE), str(latency_ms), *lab.nodes, stdin=subprocess.PIPE,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as line:
        try:
            if line.stdout.readline() != "ready\n":
                raise LabError(f"no latency: {line.stderr.read().strip()[-300:]}")
            yield
        finally:
            line.stdin.close()
            line.wait()
