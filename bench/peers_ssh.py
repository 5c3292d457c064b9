"""An ssh daemon in a container: for a session that moves, and to start ranks of Open MPI."""

import pathlib
import subprocess

from tests.support.lab import CLIENT

from .memory_common import BenchError

# What `runc spec` leaves out: a daemon gives its workers and sessions a user and a terminal.
LOGIN = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"]


def sshd_script():
    """Lets root in with the key in /keys."""
    options = ["AuthorizedKeysFile=/tmp/k/allowed", "StrictModes=no", "PermitRootLogin=yes", "UsePAM=no",
               "PidFile=none"]
    return ("mkdir -p /run/sshd /tmp/k && ssh-keygen -q -t ed25519 -N '' -f /tmp/k/host && cp /keys/client.pub "
            "/tmp/k/allowed && exec /usr/sbin/sshd -D -e -f /dev/null -p 22 -h /tmp/k/host "
            + " ".join(f"-o {option}" for option in options))


def make_keys(directory):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "client")], check=True,
                   stdin=subprocess.DEVNULL)


def add_account(root, name, number):
    passwd = pathlib.Path(root, "etc/passwd")
    if f"\n{name}:" not in (text := passwd.read_text()):
        passwd.write_text(text + f"{name}:x:{number}:{number}::/run/{name}:/bin/false\n")


def with_capabilities(capabilities):
    """For containers.start(edit=…)."""
    def edit(config):
        for kind in ("bounding", "effective", "permitted", "inheritable"):
            held = config["process"]["capabilities"].setdefault(kind, [])
            held += [capability for capability in capabilities if capability not in held]

    return edit


class Session:
    """A session with a terminal. Each line that is typed comes back with its number."""

    def __init__(self, lab, key, address):
        self._count = 0
        self._process = lab.popen(
            CLIENT, "ssh", "-tt", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", f"root@{address}",
            "stty -echo -onlcr; n=0; echo ready; while read line; do n=$((n+1)); echo \"$n $line\"; done",
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while (said := self._process.stdout.readline()) and "ready" not in said:
            pass
        if not said:
            raise BenchError("no session")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def assert_answers(self, lines=20):
        for _ in range(lines):
            self._count += 1
            self._process.stdin.write(f"line {self._count}\n")
            self._process.stdin.flush()
            if (said := self._process.stdout.readline().strip()) != f"{self._count} line {self._count}":
                raise BenchError(f"line {self._count} came back as {said!r}")
