"""Which fault is done in which step of a migration, and what must be the case afterwards."""

import dataclasses
import os
import signal

from tests.support import processes

# Steps before the commit: phase to wait for, and options that make it last.
BEFORE = {
    "rounds": ("rounds", ["--mode", "precopy", "--bandwidth-max", "20MB/s", "--no-throttle"]),
    "restore": ("restore", ["--mode", "cold", "--bandwidth-max", "20MB/s"]),
}
# After it: the container runs on the target and its memory follows.
AFTER = {"pages": ("pages", ["--mode", "postcopy", "--bandwidth-max", "20MB/s"])}


def _kill_agent(node):
    def fault(lab, _container):
        lab.agent(node, "kill")
        lab.agent(node, "start")
    return fault


def _kill(find):
    def fault(_lab, _container):
        pidfd = find()
        processes.kill(pidfd)
        os.close(pidfd)
    return fault


def _stop_agent(node):
    def fault(lab, _container):
        pid = lab.agent_pid(node)
        os.kill(pid, signal.SIGSTOP)
        lab.exec("client", "sleep", "2")  # the fault itself, and not a wait for something
        os.kill(pid, signal.SIGCONT)
    return fault


def _cut(lab, _container):
    lab.link("node2", "--cut")


def _two_at_once(lab, container):
    refused = lab.exec("node1", "godwit", "migrate", container.name, "--to", "node2", check=False)
    assert refused.returncode == 1 and "is being migrated already" in refused.stdout, refused


@dataclasses.dataclass(frozen=True)
class Fault:
    do: object
    ends_with: tuple  # of "migrated", "rolled_back", "recovered": the last, that an agent started again did it


FAULTS = {
    "source agent killed": Fault(_kill_agent("node1"), ("recovered",)),
    "target agent killed": Fault(_kill_agent("node2"), ("rolled_back",)),
    "source criu killed": Fault(_kill(lambda: processes.criu("node1")), ("rolled_back",)),
    "source runc killed": Fault(_kill(lambda: processes.runc("node1", "checkpoint")), ("rolled_back",)),
    "target criu killed": Fault(_kill(lambda: processes.criu("node2")), ("rolled_back",)),
    "target runc killed": Fault(_kill(lambda: processes.runc("node2", "restore")), ("rolled_back",)),
    "link cut": Fault(_cut, ("rolled_back",)),
    "source agent stopped": Fault(_stop_agent("node1"), ("migrated", "rolled_back")),
    "target agent stopped": Fault(_stop_agent("node2"), ("migrated", "rolled_back")),
    "two at once": Fault(_two_at_once, ("migrated",)),
}

FAST = {("rounds", "source agent killed"), ("restore", "source agent killed"), ("restore", "target agent killed"),
        ("restore", "source criu killed")}
