"""Containers on the lab's nodes, made as any user of runC makes them: tools/bundle, then `runc run -d`."""

import dataclasses
import json
import os
import pathlib
import subprocess

from .lab import LabError
from .paths import BUILD, SHARED, TOOLS, workload

SUBNET_BITS = 16
REDIS_PORT = 6379
ECHO_PORT = 7007
MEMORY_WRITER_PORT = 7008
CHECKER_PORT = 7008


@dataclasses.dataclass
class Container:
    """A container that was started. `node` is where the caller believes it is."""

    name: str
    node: str
    address: str
    bundle: pathlib.Path
    output: pathlib.Path | None  # the file its standard output and error are redirected to

    def state(self, lab, node=None):
        """runC's state on the node as a dictionary, None when it does not know the container."""
        result = lab.exec(node or self.node, "runc", "state", self.name, check=False)
        if result.returncode == 0:
            return json.loads(result.stdout)
        if "does not exist" in result.stderr:
            return None
        raise LabError(f"runc state {self.name} on {node or self.node}: {result.stderr.strip()}")

    def status(self, lab, node=None):
        """"running", "stopped", "paused", "created", or None."""
        state = self.state(lab, node)
        return state and state["status"]

    def remove(self, lab):
        """Kills and deletes it, and removes its network namespace."""
        lab.exec(self.node, "runc", "delete", "--force", self.name)
        lab.exec(self.node, "ip", "netns", "delete", self.name)


def prepare(lab, node, name, address, command, *, rootfs, options=(), also=(), edit=None):
    """Makes bundle and network namespace of a container NAME at 10.99.2.x, to be started by the caller.

    ALSO: further addresses with their prefix lengths. OPTIONS: tools/bundle's; what those cannot change is changed by
    EDIT, which is called with what config.json holds.
    """
    netns = lab.netns(node, name, f"{address}/{SUBNET_BITS}", *also)
    bundle = (SHARED or BUILD) / "bundles" / name
    subprocess.run([str(TOOLS / "bundle"), str(bundle), "--rootfs", rootfs, "--netns", netns, *options,
                    "--", *command], check=True)
    if edit:
        config = json.loads((bundle / "config.json").read_text())
        edit(config)
        (bundle / "config.json").write_text(json.dumps(config, indent=2))
    return Container(name, node, address, bundle, None)


def create(lab, node, name, bundle):
    """`runc create`: the program has not started."""
    process = lab.popen(node, "runc", "create", "--bundle", str(bundle), name, stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if process.wait() != 0:
        raise LabError(f"runc create {name} on {node}: exit status {process.returncode}")


def start(lab, node, name, address, command, *, rootfs, options=(), output=True, also=(), edit=None):
    """Starts COMMAND in a container, its standard input /dev/null.

    OUTPUT: redirect to a file on the host, as a shell does; False: /dev/null. The rest as prepare().
    """
    container = prepare(lab, node, name, address, command, rootfs=rootfs, options=options, also=also, edit=edit)
    bundle = container.bundle
    path = container.output = bundle / "output.log" if output else None
    with open(path or os.devnull, "ab") as stream:
        if path:
            stream.truncate(0)
        process = lab.popen(node, "runc", "run", "-d", "--bundle", str(bundle), name,
                            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        if process.wait() != 0:
            said = path.read_text() if path else "(its output was not kept)"
            raise LabError(f"runc run {name} on {node}: exit status {process.returncode}: {said}")
    return container


def start_redis(lab, node, name="redis", address="10.99.2.10", output=True):
    """A Redis that keeps everything in memory; returns when it accepts connections."""
    command = ["redis-server", "--bind", address, "--port", str(REDIS_PORT), "--save", "",
               "--appendonly", "no", "--protected-mode", "no", "--dir", "/tmp"]
    container = start(lab, node, name, address, command, rootfs=redis_rootfs(), output=output)
    lab.await_port(address, REDIS_PORT)
    return container


def echo_command(resident_mib=16):
    return ["/bin/echo_server", "--port", str(ECHO_PORT), "--resident-mib", str(resident_mib)]


def start_echo(lab, node, name="echo", address="10.99.2.11", resident_mib=16, output=True, also=()):
    container = start(lab, node, name, address, echo_command(resident_mib), rootfs=workload_rootfs(), output=output,
                      also=also)
    lab.await_port(address, ECHO_PORT)
    return container


def start_memory_writer(lab, node, name="writer", address="10.99.2.12", output=True, **flags):
    """Flags: memory_writer.cc, such as size_mib=64."""
    command = ["/bin/memory_writer", "--port", str(MEMORY_WRITER_PORT)]
    for flag, value in flags.items():
        command += [f"--{flag.replace('_', '-')}", str(value)]
    container = start(lab, node, name, address, command, rootfs=workload_rootfs(), output=output)
    lab.await_port(address, MEMORY_WRITER_PORT)
    return container


def start_checker(lab, node, program, *, name="checker", address="10.99.2.13", options=(), edit=None, **flags):
    """A workload that checks itself, such as page_checker; flags as its file says. tests/support/checker.py asks it."""
    command = [f"/bin/{program}", "--port", str(CHECKER_PORT)]
    for flag, value in flags.items():
        command += [f"--{flag.replace('_', '-')}", str(value)]
    container = start(lab, node, name, address, command, rootfs=workload_rootfs(), options=options, edit=edit)
    lab.await_port(address, CHECKER_PORT)
    return container


def redis_rootfs():
    return _tool_output("rootfs", "redis")


def busybox_rootfs():
    return _tool_output("rootfs", "busybox")


def workloads_at(place):
    """Option of tools/bundle: all static workloads there, in a root file system that has something else."""
    return ["--bind", f"{BUILD / 'bin' / 'workloads'}:{place}"]


def workload_rootfs():
    """A root file system with nothing but the static workloads in /bin."""
    root = BUILD / "rootfs"
    for directory in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for name in ("memory_writer", "page_checker", "map_storm", "shm_checker", "stream_like", "echo_server",
                 "line_printer", "uring_user", "uffd_user", "byte_server", "nuisance"):
        built, linked = pathlib.Path(workload(name)), root / "bin" / name
        if not linked.exists() or not linked.samefile(built):
            linked.unlink(missing_ok=True)
            os.link(built, linked)
    return str(root)


def _tool_output(tool, *arguments):
    result = subprocess.run([str(TOOLS / tool), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout.strip()
