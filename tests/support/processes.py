"""Processes of a lab host, found by its cgroups and nothing else."""

import os
import pathlib
import select
import signal

from .costs import HostAccount


def find(node, *words):
    """PIDs on the host whose command line has all of WORDS among its own, oldest first. A program is the last part of
    its path."""
    found = []
    for pid in HostAccount(node).pids():
        try:
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            started = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        except OSError:
            continue
        command[0] = os.path.basename(command[0])
        if set(words) <= set(command):
            found.append((started, int(pid)))
    return [pid for _, pid in sorted(found)]


def criu(node):
    """The criu that runC has started there for a dump or a restore, as a pidfd; the caller closes it."""
    return os.pidfd_open(find(node, "criu", "swrk")[0])


def runc(node, command):
    """A running `runc COMMAND`, such as checkpoint or restore."""
    return os.pidfd_open(find(node, "runc", command)[0])


def kill(pidfd):
    """SIGKILL, and waits for the end."""
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    await_end(pidfd)


def await_end(pidfd, timeout_s=20):
    """Until the process has ended; whoever its parent is."""
    if not select.select([pidfd], [], [], timeout_s)[0]:
        raise TimeoutError(f"a process has not ended within {timeout_s} s")
