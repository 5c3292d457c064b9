"""A criu that waits before it works, so that a phase lasts for as long as a test wants."""

import contextlib
import fcntl

from .agent_setup import configured
from .paths import BUILD

CRIU = "/opt/godwit/criu/bin/criu"
DIRECTORY = BUILD / "gate"  # not in /tmp: runC has one of its own there


class Gate:
    def __init__(self, path):
        self._file = open(path, "w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self):
        self._file.close()


@contextlib.contextmanager
def gated(lab, node):
    """The node's agent, started again, uses a criu that waits at the gate when runC asks it to dump or restore."""
    DIRECTORY.mkdir(exist_ok=True)
    criu, lock = DIRECTORY / "criu", DIRECTORY / "lock"
    criu.write_text(f'#!/bin/sh\n[ "$1" != swrk ] || flock --shared {lock} true\nexec {CRIU} "$@"\n')
    criu.chmod(0o755)
    gate = Gate(lock)
    try:
        with configured(lab, node, (CRIU, str(criu))):
            yield gate
    finally:
        gate.open()
