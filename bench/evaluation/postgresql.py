"""PostgreSQL in a container and pgbench as its client, both from the same root file system."""

import os
import pathlib
import shutil
import subprocess
import time

from tests.support.lab import CLIENT, LabError
from tests.support.paths import workload

PORT = 5432
# A server refuses to run as root. Any number will do: the account is in no database of the host.
USER = 999
BIN = "/usr/lib/postgresql/15/bin"
DATABASE = "postgres"


class LoadFailed(Exception):
    """pgbench or the server said so, or the books do not balance."""


def prepare(directory, root):
    """Makes DIRECTORY/data for the server, DIRECTORY/log for pgbench, and an account of the server's user."""
    for name, mode in (("data", 0o755), ("log", 0o755), ("data/pg", 0o700)):
        (directory / name).mkdir(mode)
        os.chown(directory / name, USER, USER)
    shutil.copy(workload("other_user.so"), directory / "data")
    passwd = pathlib.Path(root, "etc/passwd")
    if f":{USER}:" not in (text := passwd.read_text()):
        passwd.write_text(text + f"postgres:x:{USER}:{USER}::/tmp:/bin/sh\n")


def run_as_its_user(config):
    """Really, where CRIU can dump another user's program; else PostgreSQL is only told so."""
    if _has_sys_resource():
        config["process"]["user"] = {"uid": USER, "gid": USER}
    else:
        config["process"]["env"].append("LD_PRELOAD=/data/other_user.so")
        for kind in ("bounding", "effective", "permitted"):  # to use files that belong to its user
            config["process"]["capabilities"][kind] += ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]


def _has_sys_resource():
    status = pathlib.Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) >> 24 & 1)


def server_command(address, parameters):
    """Nothing is synced: what a disk takes is not what is measured."""
    options = {"listen_addresses": address, "unix_socket_directories": "/tmp", "fsync": "off", "synchronous_commit": "off",
               "shared_buffers": f"{parameters['buffers_mib']}MB", "max_connections": parameters["connections"] + 10}
    words = " ".join(f"-c {name}={value}" for name, value in options.items())
    script = (f"{BIN}/initdb -D /data/pg -U postgres -A trust --locale=C --no-sync >/tmp/initdb.log "
              "&& echo 'host all all all trust' >>/data/pg/pg_hba.conf "
              f"&& exec {BIN}/postgres -D /data/pg {words} >/tmp/server.log 2>&1")
    return ["/bin/sh", "-c", script]


class Load:
    """pgbench on the client, which logs each transaction."""

    def __init__(self, lab, root, directory, address, parameters):
        self._lab = lab
        self._logs = directory / "log"
        self._inside = ["unshare", "--mount", "sh", "-c",
                        'mount --bind "$1" "$2/tmp" && mount --bind /dev "$2/dev" && cd / && shift && exec chroot "$@"', "sh",
                        str(self._logs), root]
        self._server = ["-h", address, "-p", str(PORT), "-U", "postgres"]
        self._bench = None
        self._await_server()
        self._run(f"{BIN}/pgbench", "--initialize", "--quiet", "--scale", str(parameters["scale"]), *self._server, DATABASE)
        # Thread 0 only: one log.
        self._bench = lab.popen(CLIENT, *self._inside, f"{BIN}/pgbench", "--client", str(parameters["connections"]),
                                "--rate", str(parameters["rate"]), "--time", "1000000", "--no-vacuum", "--log",
                                "--log-prefix=/tmp/bench", *self._server, DATABASE, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=open(self._logs / "errors", "w"))
        self.begin()
        self._await_entry_after(time.time())

    def begin(self):
        self._began = time.time()

    def end(self):
        """A transaction's time is what its client waited, from when it was due."""
        ended = time.time()
        entries = [entry for entry in self._await_entry_after(ended) if entry[0] >= self._began]
        values = [0] * (int((ended - self._began) * 10) + 1)
        for at, _ in entries:
            if (step := int((at - self._began) * 10)) < len(values):
                values[step] += 1
        offset = time.time() - time.monotonic()
        return {"client_gap_ms": max(latency for _, latency in entries), "requests": len(entries),
                "pace": {"unit": "transaction", "from_s": self._began - offset, "step_ms": 100, "values": values}}

    def check(self):
        """TPC-B's condition: accounts, tellers, branches and history have the same sum. One statement, one snapshot."""
        said = self._run(f"{BIN}/psql", "-At", "-F", " ", *self._server, "-c",
                         "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),"
                         " (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from"
                         " pgbench_history)", DATABASE).split()
        if len(said) != 4 or len(set(said)) != 1:
            raise LoadFailed(f"the books do not balance: {' '.join(said)}")

    def close(self):
        if self._bench:
            self._bench.kill()
            self._bench.wait()

    def _await_server(self):
        end = time.monotonic() + 30
        while True:
            try:
                self._run(f"{BIN}/psql", "-c", "select 1", *self._server, DATABASE)
                return
            except LoadFailed:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def _run(self, *command):
        try:
            return self._lab.exec(CLIENT, *self._inside, *command).stdout
        except LabError as error:
            raise LoadFailed(str(error)[-300:]) from error

    def _await_entry_after(self, at, timeout_s=60):
        """Every (time, latency in ms) so far. pgbench writes its log in blocks."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._bench.poll() is not None:
                raise LoadFailed(f"pgbench ended: {(self._logs / 'errors').read_text()[-300:]}")
            if errors := (self._logs / "errors").read_text():
                if "aborted" in errors or "ERROR" in errors:
                    raise LoadFailed(f"pgbench: {errors[-300:]}")
            entries = self._entries()
            if entries and entries[-1][0] > at:
                return entries
            time.sleep(0.1)
        raise LoadFailed(f"no transaction within {timeout_s} s")

    def _entries(self):
        """Lines "client transaction latency_us script seconds microseconds [lag_us]"; the last may be incomplete."""
        found = []
        for path in self._logs.glob("bench.*"):
            for line in path.read_text().split("\n")[:-1]:
                fields = line.split()
                if fields[2].isdigit():  # else skipped or failed
                    found.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2]) / 1e3))
        return sorted(found)
