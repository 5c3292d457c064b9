"""What a migration costs its hosts, seen from outside: memory and bytes written to disk.

Memory: a lab host has a cgroup of its own, lab-HOST; anonymous memory plus tmpfs and memfd pages of all its processes
are read every 20 ms. The peak above what there was before the migration is the peak extra memory of the source; on the
target the container itself arrives, so there the peak above what there is afterwards counts. Page cache of files is
left out: it belongs to whoever read a program first.

Disk: write_bytes of /proc/PID/io, what a process has caused to be written to a block device; pages of a tmpfs do not
count. Of each process of the host that lived at any time in between, the growth is added up: agent, runC, CRIU and all
their children, and the container. A child too short-lived to be seen is in its parent's figure once it was reaped.
The kernel counts whole pages, and the file system's own bookkeeping with them: a directory made and removed again, as
CRIU does in /tmp, is 4 KiB if /tmp is on a disk.
"""

import collections
import os
import pathlib
import threading


class HostAccount:
    """The cgroup of one lab host, whichever version of cgroups holds the memory controller."""

    def __init__(self, node):
        self._group, fields = _memory_cgroup(node)
        self._fields = fields

    def memory_bytes(self):
        values = dict(line.split() for line in (self._group / "memory.stat").read_text().splitlines())
        return sum(int(values[field]) for field in self._fields)

    def pids(self):
        found = set()
        for directory, _, files in os.walk(self._group):
            if "cgroup.procs" in files:
                try:
                    found |= set(pathlib.Path(directory, "cgroup.procs").read_text().split())
                except OSError:  # the cgroup has just been removed
                    pass
        return found - {"0"}

    def written_bytes(self):
        """{process: write_bytes} of those that live; a process is its PID, start time and name."""
        written = {}
        for pid in self.pids():
            try:
                stat, rest = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)
                name, started = stat.split("(", 1)[1], rest.split()[19]
                io = pathlib.Path(f"/proc/{pid}/io").read_text()
            except OSError:
                continue
            written[pid, started, name] = int(io.split("\nwrite_bytes: ")[1].split()[0])
        return written


class HostCosts:
    """The figures of one host; read them after the sampler's `with` block."""

    def __init__(self, node):
        self._account = HostAccount(node)
        self.memory_before = self.memory_peak = self.memory_after = self._account.memory_bytes()
        self._written_before = self._account.written_bytes()
        self._written = dict(self._written_before)

    def sample(self):
        self.memory_after = self._account.memory_bytes()
        self.memory_peak = max(self.memory_peak, self.memory_after)
        self._written.update(self._account.written_bytes())

    @property
    def disk_writers(self):
        """{name of a process: bytes it wrote}, of those that wrote any."""
        writers = collections.Counter()
        for process, written in self._written.items():
            writers[process[2]] += written - self._written_before.get(process, 0)
        return {name: written for name, written in writers.items() if written}

    @property
    def disk_bytes(self):
        return sum(self.disk_writers.values())

    @property
    def extra_bytes_of_source(self):
        return max(0, self.memory_peak - self.memory_before)

    @property
    def extra_bytes_of_target(self):
        return max(0, self.memory_peak - max(self.memory_before, self.memory_after))


class Sampler:
    """with Sampler("node1", "node2") as costs: …; then costs["node1"] is a HostCosts."""

    INTERVAL_S = 0.02

    def __init__(self, *nodes):
        self._nodes = nodes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._hosts = {node: HostCosts(node) for node in self._nodes}
        self._thread.start()
        return self._hosts

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        for host in self._hosts.values():
            host.sample()

    def _run(self):
        while not self._done.wait(self.INTERVAL_S):
            for host in self._hosts.values():
                host.sample()


def files_changed(since, *tops):
    """Paths below TOPS that were made or written after the time SINCE."""
    changed = []
    for top in tops:
        for directory, _, names in os.walk(top):
            for path in (directory, *(os.path.join(directory, name) for name in names)):
                if os.lstat(path).st_mtime > since:
                    changed.append(path)
    return changed


def _memory_cgroup(node):
    with open("/proc/mounts") as file:
        mounts = [line.split() for line in file]
    for _, path, kind, options, *_ in mounts:
        if kind == "cgroup" and "memory" in options.split(","):
            return pathlib.Path(path, f"lab-{node}"), ("total_rss", "total_shmem")
    for _, path, kind, *_ in mounts:
        group = pathlib.Path(path, f"lab-{node}")
        if kind == "cgroup2" and (group / "memory.stat").exists():
            return group, ("anon", "shmem")
    raise FileNotFoundError(f"no memory cgroup of lab-{node}")
