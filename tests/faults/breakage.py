"""The faults: what each does to a migration that stands in a step (Scene).

A fault lets the migration go on at the moment that suits it; what it forgets, the end of the cell does.
"""

import os
import pathlib

from tests.support import container as containers
from tests.support import processes
from tests.support.migration import begin

from . import clocks
from .scene import drop_packets

LAG_S = 0.4  # a TCP connection tries again twice meanwhile
MOMENT_S = 2  # shorter than whatever counts as a loss (10 s)
OTHER = {"node1": "node2", "node2": "node1"}


# --- Processes

def kill_agent(node):
    def fault(scene):
        scene.lab.agent(node, "kill")
        scene.go_on()
        scene.lab.agent(node, "start")
    return fault


def kill(find):
    def fault(scene):
        pidfd = find(scene)
        processes.kill(pidfd)
        os.close(pidfd)
    return fault


def criu(node):
    return kill(lambda _: processes.criu(node))


def runc(node, command):
    return kill(lambda _: os.pidfd_open(processes.find(node, command)[0]))


def program(name):
    """One of those that the target's agent has started for the migration."""
    return kill(lambda _: os.pidfd_open(processes.find("node2", name)[0]))


def stop_agent(node, seconds=MOMENT_S):
    def fault(scene):
        let_it_go_on = scene.stop(scene.lab.agent_pid(node))
        scene.go_on()
        pass_time(scene, seconds)
        let_it_go_on()
    return fault


def pass_time(scene, seconds=MOMENT_S):
    """The length of the fault itself, and not a wait for something."""
    scene.lab.exec("client", "sleep", str(seconds))


def clock_jumps(node, seconds):
    """The wall clock of the agent, and of nothing else."""
    def fault(scene):
        scene.until_end(clocks.set_off, node, 0)
        clocks.set_off(node, seconds)
        scene.go_on()
        scene.await_end()
    return fault


# --- The link

def _cut_side(scene):
    """The host whose uplink is cut: not the one that the client needs, as far as one can know."""
    scene.until_end(scene.lab.link, "node1", "--mend")
    scene.until_end(scene.lab.link, "node2", "--mend")
    return "node2" if scene.before_commit else "node1"


def cut(scene):
    node = _cut_side(scene)
    scene.lab.link(node, "--cut")
    scene.go_on()
    scene.await_loss()
    scene.lab.link(node, "--mend")


def cut_for_a_moment(scene):
    node = _cut_side(scene)
    scene.lab.link(node, "--cut")
    scene.go_on()
    pass_time(scene, 1)
    scene.lab.link(node, "--mend")


def half_open(deaf):
    """What one of the agents sends is lost; the other direction works."""
    def fault(scene):
        mend = drop_packets(scene.lab, deaf, "input", f"ip saddr {agent_address(OTHER[deaf])}")
        try:
            scene.go_on()
            scene.await_loss()
        finally:
            mend()
    return fault


def agent_address(node):
    return f"10.99.1.{node.removeprefix('node')}"


def slow(scene):
    scene.until_end(scene.lab.link, "node2", "--rate", "off")
    scene.lab.link("node2", "--rate", "2mbit")
    scene.go_on()
    pass_time(scene)
    scene.lab.link("node2", "--rate", "off")


def connections_lag(scene):
    """One data connection after the other loses all for a moment, while the others go on: what was sent over several
    arrives in another order."""
    said = scene.lab.exec("node1", "ss", "-tnH", "state", "established", f"dst {agent_address('node2')}:7411").stdout
    ports = [line.split()[2].rpartition(":")[2] for line in said.splitlines()]
    assert ports, said
    scene.go_on()
    for port in ports:
        mend = drop_packets(scene.lab, "node1", "output", f"tcp sport {port}")
        try:
            pass_time(scene, LAG_S)
        finally:
            mend()
    scene.await_end()


# --- Space

def full(node, directory):
    """Not a byte is free in that tmpfs of the host."""
    def fault(scene):
        scene.until_end(fill(scene.lab, node, directory))
        scene.go_on()
        scene.ongoing.result()
    return fault


def fill(lab, node, directory):
    """Returns the function that makes room again."""
    top = lab.root(node) / directory.lstrip("/")
    sizes = os.statvfs(top)
    used = (sizes.f_blocks - sizes.f_bfree) * sizes.f_frsize
    _resize(lab, node, directory, used + (64 << 10))
    filler = top / "filler"
    try:
        with open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:  # that is all
        pass

    def empty():
        filler.unlink(missing_ok=True)
        _resize(lab, node, directory, "50%")
    return empty


def _resize(lab, node, directory, size):
    lab.exec(node, "mount", "-n", "-o", f"remount,size={size}", directory)


def little_memory(node):
    """The host may take 8 MiB more; the kernel ends what takes most of it."""
    def fault(scene):
        limit, now_bytes = memory_limit(node)
        limit.write_text(str(now_bytes + (8 << 20)))
        scene.until_end(_lift, scene.lab, node, limit)
        scene.go_on()
        scene.ongoing.result()
        _lift(scene.lab, node, limit)
    return fault


def memory_limit(node):
    """The file with the limit of the host's cgroup, and the bytes it uses without what the kernel can take back."""
    group = pathlib.Path(f"/sys/fs/cgroup/memory/lab-{node}")
    limit, used, prefix = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
    if not group.exists():
        group = pathlib.Path(f"/sys/fs/cgroup/lab-{node}")
        limit, used, prefix = "memory.max", "memory.current", ""
    figures = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    files = sum(int(figures[f"{prefix}{which}_file"]) for which in ("active", "inactive"))
    return group / limit, int((group / used).read_text()) - files


def _lift(lab, node, limit):
    limit.write_text("-1" if limit.name == "memory.limit_in_bytes" else "max")
    if lab.agent_ended(node):
        lab.agent(node, "start")


# --- The container

def exits(scene):
    scene.connection.say_exit()


def killed(scene):
    node = "node1" if scene.before_commit else "node2"
    scene.lab.exec(node, "runc", "kill", scene.container.name, "KILL")


def deleted(scene):
    """runC waits for the end of the container, which may come only when it is thawed."""
    node = "node1" if scene.before_commit else "node2"
    deleting = scene.lab.popen(node, "runc", "delete", "--force", scene.container.name)
    scene.until_end(deleting.wait)
    if scene.frozen:
        scene.go_on()
    deleting.wait()


def paused(scene):
    scene.lab.exec("node1", "runc", "pause", scene.container.name)
    scene.go_on()
    scene.ongoing.result()
    for node in scene.lab.nodes:
        if scene.container.status(scene.lab, node) == "paused":
            scene.lab.exec(node, "runc", "resume", scene.container.name)


# --- What users ask for meanwhile

def second(target):
    def fault(scene):
        refused = scene.lab.exec("node1", "godwit", "migrate", scene.container.name, "--to", target, check=False)
        assert refused.returncode == 1 and "is being migrated already" in refused.stdout, refused
    return fault


def other_way(scene):
    """Another container comes from the target while this one goes there."""
    other = scene.keep(containers.start_echo(scene.lab, "node2", name="other", address="10.99.2.25"))
    with begin(scene.lab, other, "node1", mode=scene.mode) as ongoing:
        scene.go_on()
        moved = ongoing.result()
    assert moved.migrated, moved.why()
    assert other.status(scene.lab, "node1") == "running" and other.status(scene.lab, "node2") is None


def interrupt(scene):
    scene.ongoing.interrupt()
    if not scene.before_commit:
        scene.ongoing.await_line("cancelling")


def cancel(scene):
    said = scene.lab.exec("node1", "godwit", "cancel", scene.ongoing.id(), check=False)
    text = "cancelling" if scene.before_commit else "too late"
    assert text in said.stdout + said.stderr, said
