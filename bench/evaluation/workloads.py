"""Programs to move that go on for ever: services with a client that waits for every answer, and programs that write
memory at a set rate. Each checks its own data, before and after a move, over connections that are never made again.

A workload has PARAMETERS with their defaults, memory_mib(parameters), processes(parameters), and start(lab, node,
parameters), which returns a Running.
"""

import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests.support import client as clients
from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.client import MeasuringClient
from tests.support.lab import CLIENT, LabError
from tests.support.paths import SHARED, TOOLS

from . import podman, postgresql
from .own_clock import on_host_clock

# Each container has another address: the last one's is still announced on the LAN for two seconds after its move.
_ADDRESSES = itertools.cycle(f"10.99.2.{number}" for number in range(80, 240))
NAME = "evaluated"
_SHARED = (SHARED or pathlib.Path("/dev/shm")) / f"godwit-evaluation-{os.getpid()}"
# Of each connection: a freeze is seen within 2 ms, and processors are left to the migration. A machine of a pair has one
# processor, emulated.
CLIENT_PACE_US = 20000 if SHARED else 2000
MEMCACHED_PORT = 11211


class WorkloadFailed(Exception):
    """The program, its data or a connection is not as it must be; or it did not start."""


class Running:
    """A workload in a container, and what watches it."""

    def __init__(self, lab, container):
        self.lab = lab
        self.container = container

    def begin(self):
        """What end() tells of begins here."""

    def end(self):
        """Figures of the time since begin(): client_gap_ms (longest wait of any request) or standstill_ms (longest
        time that the program itself stood still), and pace, its work in steps of 100 ms."""
        return {}

    def check(self):
        """WorkloadFailed unless all data is as it must be."""

    def close(self):
        """Ends the clients and removes the container wherever it is."""
        remove_everywhere(self.lab, self.container.name)


def fresh_address():
    return next(_ADDRESSES)


def remove_everywhere(lab, *names):
    """One command for each host."""
    script = 'for name; do runc delete --force "$name"; ip netns delete "$name"; done'
    for name in names:
        podman.remove(lab, name)
    for node in lab.nodes:
        lab.exec(node, "sh", "-c", script, "sh", *names, check=False)
    lab.exec(CLIENT, "ip", "neighbour", "flush", "all", check=False)  # of containers that are gone


class _Watched(Running):
    """By a client that speaks the language of tests/support/client.py."""

    def __init__(self, lab, container, client):
        super().__init__(lab, container)
        self._client = client

    def begin(self):
        self._ask("mark", "before")

    def end(self):
        during = self._ask("mark", "during")
        return {"client_gap_ms": during["max_latency_ms"], "requests": during["requests"]}

    def close(self):
        self._client.close()
        super().close()

    def _ask(self, *words):
        try:
            return self._client.demand(" ".join(words))
        except clients.ClientError as error:
            raise WorkloadFailed(str(error)) from error


class Echo:
    """A server of 16 MiB that answers what it is sent."""

    PARAMETERS = {"mib": 16, "connections": 8}

    @staticmethod
    def memory_mib(parameters):
        return parameters["mib"]

    @staticmethod
    def start(lab, node, parameters):
        address = fresh_address()
        container = containers.start_echo(lab, node, name=NAME, address=address, resident_mib=parameters["mib"],
                                          output=False)
        client = clients.echo_client(lab.prefix(CLIENT), host=address, connections=parameters["connections"],
                                     pace_us=CLIENT_PACE_US)
        return _Watched(lab, container, client)


class _Filled(_Watched):
    """A store of values that are all read back for each check."""

    def __init__(self, lab, container, client, mib):
        super().__init__(lab, container, client)
        self._digest = self._ask("fill", str(mib))["digest"]

    def check(self):
        if self._ask("digest")["digest"] != self._digest:
            raise WorkloadFailed("the data set has changed")


class Redis:
    """Redis with values that do not compress; every reply on every connection is checked."""

    PARAMETERS = {"mib": 64, "connections": 8}
    ENGINES = ("runc", "podman")

    @staticmethod
    def memory_mib(parameters):
        return parameters["mib"] + 16

    @staticmethod
    def start(lab, node, parameters, engine="runc"):
        address = fresh_address()
        if engine == "podman":
            container = podman.start_redis(lab, node, NAME, address, containers.redis_rootfs())
        else:
            container = containers.start_redis(lab, node, name=NAME, address=address, output=False)
        client = clients.redis_client(lab.prefix(CLIENT), host=address, connections=parameters["connections"],
                                      pace_us=CLIENT_PACE_US)
        return _Filled(lab, container, client, parameters["mib"])


class Memcached:
    """memcached, with a client of our own (memcached_client.py): connections set and get, and check what they get."""

    PARAMETERS = {"mib": 64, "connections": 4, "threads": 2}

    @staticmethod
    def memory_mib(parameters):
        return parameters["mib"] * 2 + 64

    @staticmethod
    def start(lab, node, parameters):
        address = fresh_address()
        command = ["/usr/bin/memcached", "-u", "root", "-l", address, "-p", str(MEMCACHED_PORT), "-m",
                   str(parameters["mib"] * 2 + 64), "-t", str(max(1, parameters["threads"]))]
        container = containers.start(lab, node, NAME, address, command, rootfs=rootfs("memcached"), output=False)
        lab.await_port(address, MEMCACHED_PORT)
        client = MeasuringClient([*lab.prefix(CLIENT), sys.executable,
                                  str(pathlib.Path(__file__).with_name("memcached_client.py")), address,
                                  str(MEMCACHED_PORT), str(parameters["connections"])])
        return _Filled(lab, container, client, parameters["mib"])


class _Paced(Running):
    """A program that tells its own pace and verdict (tests/support/checker.py), in each of its processes."""

    def __init__(self, lab, container, processes=1):
        super().__init__(lab, container)
        self._checkers = []
        self._begun = []
        try:
            for number in range(processes):
                lab.await_port(container.address, containers.CHECKER_PORT + number)
                self._checkers.append(Checker(lab, container, containers.CHECKER_PORT + number))
        except BaseException:
            self.close()
            raise

    def begin(self):
        self._begun = [self._look(checker) for checker in self._checkers]

    def end(self):
        """The pace is the first process's."""
        every = [on_host_clock(began_s, ended_s, first, last)
                 for (began_s, first), (ended_s, last) in zip(self._begun, map(self._look, self._checkers))]
        return every[0] | {"standstill_ms": max(each["standstill_ms"] for each in every)}

    def _look(self, checker):
        """When it was, by the host's clock, and the program's "stats"."""
        stats = self._ask(checker, "stats")
        return time.monotonic(), stats

    def check(self):
        for checker in self._checkers:
            if not (verdict := self._ask(checker, "verify"))["ok"]:
                raise WorkloadFailed(f"memory is wrong: {verdict}")

    def close(self):
        for checker in self._checkers:
            checker.__exit__()
        super().close()

    @staticmethod
    def _ask(checker, line):
        try:
            return checker.ask(line, 120)
        except (AssertionError, OSError, TimeoutError, ValueError) as error:
            raise WorkloadFailed(f"'{line}': {error}") from error


class Writer:
    """Pages with numbers, counts and contents that follow from each other, written round and round at a set rate, 0 for
    full speed (page_checker), in so many processes with a part of the memory each."""

    PARAMETERS = {"mib": 64, "rate_mb": 20, "threads": 1, "processes": 1, "pattern": "sequential"}

    @staticmethod
    def memory_mib(parameters):
        return parameters["mib"]

    @staticmethod
    def start(lab, node, parameters):
        address = fresh_address()
        count = max(1, parameters["processes"])
        flags = (f"--bytes {parameters['mib'] * 1048576 // count} --rate {parameters['rate_mb'] * 1000000 // count} "
                 f"--threads {parameters['threads']} --pattern {parameters['pattern']} --check 0")
        others = "".join(f"/data/page_checker --port {containers.CHECKER_PORT + number} {flags} & "
                         for number in range(1, count))
        command = ["/bin/sh", "-c", f"{others}exec /data/page_checker --port {containers.CHECKER_PORT} {flags}"]
        programs = pathlib.Path(containers.workload_rootfs(), "bin")
        container = containers.start(lab, node, NAME, address, command, rootfs=containers.busybox_rootfs(),
                                     options=["--bind", f"{programs}:/data"], output=False)
        return _Paced(lab, container, count)


class Stream:
    """A program as fast as its memory: kernel triad, as STREAM has it, or random, as RandomAccess has it."""

    PARAMETERS = {"mib": 128, "kernel": "triad", "huge": 0}

    @staticmethod
    def memory_mib(parameters):
        return parameters["mib"]

    @staticmethod
    def start(lab, node, parameters):
        address = fresh_address()
        command = ["/bin/stream_like", "--port", str(containers.CHECKER_PORT), "--bytes",
                   str(parameters["mib"] * 1048576), "--kernel", parameters["kernel"], "--huge", str(parameters["huge"])]
        container = containers.start(lab, node, NAME, address, command, rootfs=containers.workload_rootfs(),
                                     output=False)
        return _Paced(lab, container)


class Postgresql:
    """PostgreSQL with pgbench at 200 transactions per second; its books must balance. Its files are on a storage that
    both hosts see, in memory so that the figures of disks are those of the migration."""

    PARAMETERS = {"scale": 2, "connections": 4, "rate": 200, "buffers_mib": 32}

    @staticmethod
    def memory_mib(parameters):
        return parameters["buffers_mib"] + 20 * parameters["scale"] + 8 * parameters["connections"] + 64

    @staticmethod
    def start(lab, node, parameters):
        return _Database(lab, node, parameters, shared_directory())


class _Database(Running):
    def __init__(self, lab, node, parameters, directory):
        root, address = rootfs("postgresql"), fresh_address()
        self._directory = directory
        self._bench = None
        postgresql.prepare(directory, root)
        container = containers.start(lab, node, NAME, address, postgresql.server_command(address, parameters),
                                     rootfs=root, options=["--bind", f"{directory / 'data'}:/data"], output=False,
                                     edit=postgresql.run_as_its_user)
        super().__init__(lab, container)
        try:
            lab.await_port(address, postgresql.PORT, 60)
            self._bench = postgresql.Load(lab, root, directory, address, parameters)
        except BaseException as error:
            self.close()
            if isinstance(error, (LabError, OSError, postgresql.LoadFailed)):
                raise WorkloadFailed(str(error)) from error
            raise

    def begin(self):
        self._demand(self._bench.begin)

    def end(self):
        return self._demand(self._bench.end)

    def check(self):
        self._demand(self._bench.check)

    def close(self):
        if self._bench:
            self._bench.close()
        super().close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @staticmethod
    def _demand(function):
        try:
            return function()
        except postgresql.LoadFailed as error:
            raise WorkloadFailed(str(error)) from error


def shared_directory():
    """A new directory on a storage that both hosts see; drop_shared_directories() removes all of this process."""
    _SHARED.mkdir(mode=0o755, exist_ok=True)
    return pathlib.Path(tempfile.mkdtemp(dir=_SHARED))


def drop_shared_directories():
    """Once no container uses one any more."""
    shutil.rmtree(_SHARED, ignore_errors=True)


def rootfs(name):
    """tools/rootfs NAME; WorkloadFailed if it cannot be made."""
    done = subprocess.run([str(TOOLS / "rootfs"), name], text=True, capture_output=True)
    if done.returncode != 0:
        raise WorkloadFailed(f"no root file system {name}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def provide(suite):
    """Makes all root file systems that the suite needs, before anything is measured. Which cannot be made, the samples
    that need it will say."""
    containers.workload_rootfs()
    for name in sorted({ROOT_FILE_SYSTEMS.get(cell.workload, "busybox") for cell in suite.cells}):
        with contextlib.suppress(WorkloadFailed):
            rootfs(name)


def processes(workload, parameters):
    """How many processors it wants at least."""
    return getattr(workload, "processes", lambda _: 1)(parameters)


WORKLOADS = {"echo": Echo, "redis": Redis, "memcached": Memcached, "writer": Writer, "stream": Stream,
             "postgresql": Postgresql}
ROOT_FILE_SYSTEMS = {"redis": "redis", "memcached": "memcached", "postgresql": "postgresql", "hpcc": "hpcc",
                     "hpcc-cluster": "openmpi", "lammps": "lammps", "gromacs": "gromacs"}
