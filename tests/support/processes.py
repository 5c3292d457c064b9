"""Processes of a lab host, found by its cgroups and nothing else."""

import contextlib
import os
import pathlib
import select
import signal
import time

from .costs import HostAccount


def find(node, *words):
    """PIDs on the host whose command line has all of WORDS among its own, oldest first. A program is the last part of
    its path."""

    def matches(pid):
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return set(words) <= {os.path.basename(command[0]), *command[1:]}

    return _oldest_first(node, matches)


def _oldest_first(node, matches):
    found = []
    for pid in HostAccount(node).pids():
        try:
            started = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
            if matches(pid):
                found.append((started, int(pid)))
        except OSError:  # it has ended
            continue
    return [pid for _, pid in sorted(found)]


def criu(node):
    """The criu that runC has started there for a dump or a restore, as a pidfd; the caller closes it. By its program:
    its command line changes, and what it is restoring is a younger criu."""
    return os.pidfd_open(_first(lambda: _oldest_first(
        node, lambda pid: os.readlink(f"/proc/{pid}/exe").endswith("/criu"))))


@contextlib.contextmanager
def criu_stopped(node):
    """The criu there stands still; it goes on, if it lives, when the block is left."""
    pidfd = criu(node)
    signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)


def runc(node, command):
    """A running `runc COMMAND`, such as checkpoint or restore."""
    return os.pidfd_open(_first(lambda: find(node, "runc", command)))


def _first(look, timeout_s=10):
    """Of what LOOK finds; it may have been started just now, and not yet be the program that it becomes."""
    end = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"no such process within {timeout_s} s")
        time.sleep(0.005)
    return found[0]


def kill(pidfd):
    """SIGKILL, and waits for the end."""
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    await_end(pidfd)


def await_end(pidfd, timeout_s=20):
    """Until the process has ended; whoever its parent is."""
    if not select.select([pidfd], [], [], timeout_s)[0]:
        raise TimeoutError(f"a process has not ended within {timeout_s} s")
