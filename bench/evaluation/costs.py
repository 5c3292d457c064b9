"""What a move costs both hosts, the same for every method, seen from outside:

  memory   tests/support/costs.py: peak extra memory, and a series of the whole host over the time of the move
  disk     tests/support/costs.py: bytes written to a block device
  cpu      of the host's cgroup without the container's: agents, scripts, runC, CRIU and what they start. What the
           kernel does for the container itself, such as faults of tracking, is the container's.
  bytes    that left the source by its uplink; the container's own packets are among them
"""

import pathlib
import threading
import time

from tests.support.costs import HostCosts

INTERVAL_S = 0.05
SERIES_POINTS = 60
MIB = 1 << 20


class Watch:
    """with Watch(lab, "redis", "node1", "node2") as watch: …; then watch.result()."""

    def __init__(self, lab, container, source, target):
        self._sides = {"source": _Side(lab, source, container), "target": _Side(lab, target, container)}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._sample()

    def result(self):
        source, target = self._sides["source"], self._sides["target"]
        return {
            "bytes_sent": source.bytes_sent(),
            "memory_extra": {"source": source.host.extra_bytes_of_source, "target": target.host.extra_bytes_of_target},
            "disk_bytes": {name: side.host.disk_bytes for name, side in self._sides.items()},
            "cpu_ms": {name: side.cpu_ms() for name, side in self._sides.items()},
            "memory_series": {name: thinned(side.series, SERIES_POINTS) for name, side in self._sides.items()},
        }

    def _run(self):
        while not self._done.wait(INTERVAL_S):
            self._sample()

    def _sample(self):
        now = time.monotonic() - self._began
        for side in self._sides.values():
            side.sample(now)


class _Side:
    def __init__(self, lab, node, container):
        self.host = HostCosts(node)
        self.series = [(0, round(self.host.memory_before / MIB, 1))]
        self._net = pathlib.Path(f"/proc/{lab.holder(node)}/net/dev")
        self._cpu = _CpuAccount(node, container)
        self._cpu_before = self._cpu.overhead_ms()
        self._sent_before = self._sent()

    def sample(self, now_s):
        self.host.sample()
        self._cpu.sample()
        self.series.append((round(now_s, 3), round(self.host.memory_after / MIB, 1)))

    def cpu_ms(self):
        return round(max(0, self._cpu.overhead_ms() - self._cpu_before), 1)

    def bytes_sent(self):
        return self._sent() - self._sent_before

    def _sent(self):
        for line in self._net.read_text().splitlines():
            name, colon, fields = line.partition(":")
            if colon and name.strip() == "uplink":
                return int(fields.split()[8])
        return 0


class _CpuAccount:
    """CPU time of a lab host without that of one container; a container that is gone keeps what it had."""

    def __init__(self, node, container):
        self._group, self._file = _cpu_cgroup(node)
        self._container = container
        self._of_container = 0
        self.sample()

    def sample(self):
        if (path := self._group / self._container).exists():
            try:
                self._of_container = max(self._of_container, self._ms(path))
            except OSError:  # it has just been removed
                pass

    def overhead_ms(self):
        return self._ms(self._group) - self._of_container

    def _ms(self, group):
        text = (group / self._file).read_text()
        if self._file == "cpuacct.usage":
            return int(text) / 1e6
        return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e3


def _cpu_cgroup(node):
    with open("/proc/mounts") as file:
        mounts = [line.split() for line in file]
    for _, path, kind, options, *_ in mounts:
        if kind == "cgroup" and "cpuacct" in options.split(","):
            return pathlib.Path(path, f"lab-{node}"), "cpuacct.usage"
    for _, path, kind, *_ in mounts:
        if kind == "cgroup2" and pathlib.Path(path, f"lab-{node}", "cpu.stat").exists():
            return pathlib.Path(path, f"lab-{node}"), "cpu.stat"
    raise FileNotFoundError(f"no CPU account of lab-{node}")


def thinned(series, points):
    """At most about POINTS of them, with first, last and the greatest of each stretch."""
    if len(series) <= points:
        return series
    stretch = len(series) / points
    chosen = [max(series[int(i * stretch):int((i + 1) * stretch)], key=lambda point: point[1]) for i in range(points)]
    return [series[0], *chosen, series[-1]]
