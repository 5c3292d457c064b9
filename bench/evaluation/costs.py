"""What a move costs both hosts, the same for every method, seen from outside:

  memory   tests/support/costs.py: peak extra memory, and a series of the whole host over the time of the move
  disk     tests/support/costs.py: bytes written to a block device
  cpu      of the host's cgroup without the container's: agents, scripts, runC, CRIU and what they start. What the
           kernel does for the container itself, such as faults of tracking, is the container's.
  bytes    that left the source by its uplink; the container's own packets are among them

    costs.py NODE CONTAINER     for a node on another machine, there: a line with its figures as often as they are read
"""

import json
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support.costs import HostCosts  # noqa: E402
from tests.support.lab import Lab  # noqa: E402

INTERVAL_S = 0.05
# Where a node is on another machine: machines are emulated then, and have one processor.
FAR_INTERVAL_S = 0.5
SERIES_POINTS = 60
MIB = 1 << 20


class Watch:
    """with Watch(lab, "redis", "node1", "node2") as watch: …; then watch.result()."""

    def __init__(self, lab, container, source, target):
        self._interval_s = FAR_INTERVAL_S if any(map(lab.is_far, (source, target))) else INTERVAL_S
        self._sides = {name: (_FarSide(lab, node, container) if lab.is_far(node) else _Side(node, container))
                       for name, node in (("source", source), ("target", target))}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, failure, *_):
        self._done.set()
        self._thread.join()
        self._sample()
        try:
            if not failure:
                self._figures = {name: side.last() for name, side in self._sides.items()}
        finally:
            for side in self._sides.values():
                side.close()

    def result(self):
        source, target = self._figures["source"], self._figures["target"]
        return {
            "bytes_sent": source["bytes_sent"],
            "memory_extra": {"source": source["extra_of_source"], "target": target["extra_of_target"]},
            "disk_bytes": {name: figures["disk_bytes"] for name, figures in self._figures.items()},
            "cpu_ms": {name: figures["cpu_ms"] for name, figures in self._figures.items()},
            "memory_series": {name: thinned(side.series, SERIES_POINTS) for name, side in self._sides.items()},
        }

    def _run(self):
        while not self._done.wait(self._interval_s):
            self._sample()

    def _sample(self):
        now = time.monotonic() - self._began
        for side in self._sides.values():
            side.sample(now)


class _Side:
    """A host, from when this is made on."""

    def __init__(self, node, container):
        self._host = HostCosts(node)
        self.series = [(0, self._memory_mib())]
        self._net = pathlib.Path(f"/proc/{Lab.holder(node)}/net/dev")
        self._cpu = _CpuAccount(node, container)
        self._cpu_before = self._cpu.overhead_ms()
        self._sent_before = self._sent()

    def sample(self, now_s):
        self._host.sample()
        self._cpu.sample()
        self.series.append((round(now_s, 3), self._memory_mib()))

    def last(self):
        """Its figures until now."""
        return {"bytes_sent": self._sent() - self._sent_before, "extra_of_source": self._host.extra_bytes_of_source,
                "extra_of_target": self._host.extra_bytes_of_target, "disk_bytes": self._host.disk_bytes,
                "cpu_ms": round(max(0, self._cpu.overhead_ms() - self._cpu_before), 1), "memory_mib": self._memory_mib()}

    def close(self):
        pass

    def _memory_mib(self):
        return round(self._host.memory_after / MIB, 1)

    def _sent(self):
        for line in self._net.read_text().splitlines():
            name, colon, fields = line.partition(":")
            if colon and name.strip() == "uplink":
                return int(fields.split()[8])
        return 0


class _FarSide:
    """The same of a host on another machine, which says it line by line."""

    def __init__(self, lab, node, container):
        self._process = lab.on_machine(node, sys.executable, __file__, node, container, stdout=subprocess.PIPE, text=True)
        self._said = threading.Condition()
        self._figures = None
        self._lines = 0
        threading.Thread(target=self._read, daemon=True).start()
        self._await_lines(1)
        self.series = [(0, self._figures["memory_mib"])]

    def sample(self, now_s):
        self.series.append((round(now_s, 3), self._figures["memory_mib"]))

    def last(self):
        """Its figures as of a moment after the call."""
        self._await_lines(self._lines + 2)
        return self._figures

    def close(self):
        self._process.kill()
        self._process.wait()

    def _read(self):
        for line in self._process.stdout:
            with self._said:
                self._figures = json.loads(line)
                self._lines += 1
                self._said.notify_all()

    def _await_lines(self, count):
        with self._said:
            if not self._said.wait_for(lambda: self._lines >= count, 60):
                raise OSError("the other machine does not tell what its host costs")


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


def main():
    node, container = sys.argv[1:]
    side, began = _Side(node, container), time.monotonic()
    while True:
        print(json.dumps(side.last()), flush=True)
        time.sleep(FAR_INTERVAL_S)
        side.sample(time.monotonic() - began)
        del side.series[1:]


if __name__ == "__main__":
    main()
