"""tools/lab from Python."""

import contextlib
import os
import pathlib
import subprocess
import sys

from .paths import BUILD, TOOLS

CLIENT = "client"
STATE = pathlib.Path("/run/godwit-lab")
DOOR = TOOLS / "lib" / "lab_door.py"


class LabError(Exception):
    """A command in the lab failed; the text has what it said."""


class Lab:
    """The lab that is up. Made by `with Lab.up(...) as lab`, which takes it down whatever happens."""

    def __init__(self, hosts):
        self.nodes = [f"node{number}" for number in range(1, hosts + 1)]

    @classmethod
    @contextlib.contextmanager
    def up(cls, hosts=2, agents=True, options=()):
        _tool("up", "--hosts", str(hosts), *([] if agents else ["--no-agents"]), *options)
        try:
            yield cls(hosts)
        finally:
            _tool("down")

    @staticmethod
    def prefix(host):
        """What to put before a command to run it on HOST (nodeK, client or lan)."""
        return [str(TOOLS / "lab"), "exec", host, "--"]

    def exec(self, host, *command, check=True, timeout_s=120):
        """Runs a command there and returns its CompletedProcess, with its output as text. No standard input."""
        result = subprocess.run([*self.prefix(host), *command], text=True, stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=timeout_s, env=_environment())
        if check and result.returncode != 0:
            said = (result.stderr or result.stdout).strip()
            raise LabError(f"on {host}: {' '.join(command)}: exit status {result.returncode}: {said}")
        return result

    def on_machine(self, node, *command, **options):
        """A Popen of a command outside of the lab's hosts, on the machine that has the node."""
        if not self.is_far(node):
            return subprocess.Popen(command, **options)
        return self.popen(CLIENT, *self._door(node, "call"), *command, **options)

    @staticmethod
    def is_far(node):
        """Whether it is on another machine than we are."""
        return (STATE / node / "far").exists()

    def align_clocks(self):
        """Machines of one lab have one time, to within some ms: scripts compare what they said on both."""
        for node in self.nodes:
            if self.is_far(node):
                self.exec(CLIENT, *self._door(node, "align"))

    @staticmethod
    def _door(node, verb):
        return [sys.executable, str(DOOR), verb, (STATE / node / "far").read_text().strip()]

    def popen(self, host, *command, **options):
        return subprocess.Popen([*self.prefix(host), *command], env=_environment(), **options)

    def netns(self, node, name, *addresses):
        """Makes /run/netns/NAME on the node, with its eth0 on the node's bridge; returns the path."""
        _tool("netns", node, name, *(word for address in addresses for word in ("--ip", address)))
        return f"/run/netns/{name}"

    def link(self, node, *how):
        _tool("link", node, *how)

    def agent(self, node, action):
        _tool("agent", node, action)

    def agent_log(self, node):
        return _tool("log", node)

    @staticmethod
    def holder(host):
        """PID of the process that keeps the host's namespaces."""
        return int((STATE / host / "holder").read_text().split()[0])

    @staticmethod
    def agent_pid(node):
        return int((STATE / node / "agent").read_text().split()[0])

    @classmethod
    def agent_ended(cls, node):
        """Whether its godwitd is gone; a zombie is."""
        try:
            return "State:\tZ" in pathlib.Path(f"/proc/{cls.agent_pid(node)}/status").read_text()
        except FileNotFoundError:
            return True

    @classmethod
    def root(cls, host):
        """The host's files, its own /run and /etc/godwit among them, as seen from here."""
        return pathlib.Path(f"/proc/{cls.holder(host)}/root")

    def await_port(self, address, port, timeout_s=20):
        """Until ADDRESS accepts connections from the client; it cannot tell us that it is about to."""
        script = ("import socket,sys,time\n"
                  "end = time.monotonic() + float(sys.argv[3])\n"
                  "while True:\n"
                  "    try: sys.exit(socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close())\n"
                  "    except OSError as error:\n"
                  "        if time.monotonic() > end: sys.exit(f'{sys.argv[1]}: {error}')\n"
                  "        time.sleep(0.01)\n")
        self.exec(CLIENT, sys.executable, "-c", script, address, str(port), str(timeout_s))


def _environment():
    return {"LAB_BIN": str(BUILD / "bin"), **os.environ}


def _tool(*arguments):
    result = subprocess.run([str(TOOLS / "lab"), *arguments], text=True, stdin=subprocess.DEVNULL,
                            capture_output=True, env=_environment())
    if result.returncode != 0:
        raise LabError(f"tools/lab {' '.join(arguments)}: {(result.stderr or result.stdout).strip()}")
    return result.stdout
