"""A runC for each host that waits where a test wants it to, so that a step lasts as long as a fault needs."""

import contextlib
import fcntl
import shutil

from tests.support.agent_setup import CONFIG
from tests.support.paths import BUILD

DIRECTORY = BUILD / "gates"  # not in /tmp: runC has one of its own there
COMMANDS = ("restore", "--version")


def put_up(lab):
    """The agents' configurations name these programs from now on; before the agents are started."""
    DIRECTORY.mkdir(exist_ok=True)
    runc = shutil.which("runc", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    for node in lab.nodes:
        program = DIRECTORY / node / "runc"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            "#!/bin/sh\n"
            f'for word; do case $word in {"|".join(COMMANDS)}) flock --shared "{program.parent}/$word" true ;; '
            "esac; done\n"
            f'exec {runc} "$@"\n')
        program.chmod(0o755)
        path = lab.root(node) / CONFIG
        text = path.read_text()
        assert f'"{runc}"' in text
        path.write_text(text.replace(f'"{runc}"', f'"{program}"'))


@contextlib.contextmanager
def closed(node, command):
    """That command of runC's waits there until the block is left."""
    with open(DIRECTORY / node / command, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
