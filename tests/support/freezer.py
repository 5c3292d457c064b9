"""Whether a container stands still, as the kernel has it, and that it does: v1's freezer.state, v2's cgroup.events and
cgroup.freeze."""

import contextlib
import os
import pathlib
import time


def cgroup_paths(pid):
    """Below each hierarchy's mount, by controller; "" is the unified hierarchy."""
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}


class Freezer:
    """Of the cgroup of a process, in the freezer hierarchy or the unified one."""

    def __init__(self, pid):
        paths = cgroup_paths(pid)
        if "freezer" in paths:
            self._file = self._switch = f"/sys/fs/cgroup/freezer/{paths['freezer']}/freezer.state"
            self._frozen, self._on, self._off = b"FROZEN", "FROZEN", "THAWED"
        else:
            group = f"/sys/fs/cgroup/{paths['']}"
            self._file, self._switch = f"{group}/cgroup.events", f"{group}/cgroup.freeze"
            self._frozen, self._on, self._off = b"frozen 1", "1", "0"
        self._fd = os.open(self._file, os.O_RDONLY)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def frozen(self):
        return self._frozen in os.pread(self._fd, 256, 0)

    @contextlib.contextmanager
    def _switched_on(self):
        pathlib.Path(self._switch).write_text(self._on)
        try:
            yield
        finally:
            pathlib.Path(self._switch).write_text(self._off)

    @contextlib.contextmanager
    def standing_still(self):
        """runc pause gives up when the kernel takes long to stop all tasks; this waits."""
        with self._switched_on():
            self.wait(True)
            yield

    def stand_still(self, ms):
        """For about so long; how long it was, in ms."""
        began = time.monotonic()
        with self._switched_on():
            time.sleep(ms / 1000)
        return (time.monotonic() - began) * 1000

    def wait(self, frozen, timeout_s=20):
        """As closely as one can look: it may be so for a fraction of a millisecond only."""
        end = time.monotonic() + timeout_s
        while self.frozen() != frozen:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._file}: not {'frozen' if frozen else 'thawed'} within {timeout_s} s")
