"""An Open MPI job over TCP between containers on three hosts, one of which moves while it runs: HPC Challenge, which
checks itself whether what it computed is right."""

import contextlib
import pathlib
import tempfile
import time

from tests.support import container as containers
from tests.support.migration import migrate
from tests.support.paths import BUILD

from .evaluation.hpcc_cluster import MPI
from .evaluation.programs import Hpcc
from .memory_common import BenchError
from .peers_ssh import LOGIN, add_account, make_keys, sshd_script, with_capabilities

ADDRESSES = ["10.99.2.81", "10.99.2.82", "10.99.2.83"]
SIZE = 2600  # of HPL's matrix: a job of about a minute on two processors
ENDS_WITHIN_S = 240


def mpi_job(lab, moves, say):
    """The reports of the moves of the third container, which goes to and fro between the third and the second host."""
    root = containers._tool_output("rootfs", "openmpi")
    add_account(root, "sshd", 998)
    with contextlib.ExitStack() as stack:
        shared = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD)))
        make_keys(shared)
        (shared / "hpccinf.txt").write_bytes(Hpcc.files({"size": SIZE, "ranks": len(ADDRESSES)})["hpccinf.txt"])
        started = [_start(lab, stack, root, shared, number, sshd_script()) for number in (2, 1)]
        for container in started:
            lab.await_port(container.address, 22)
        job = (f"cp /keys/client /tmp/key; chmod 600 /tmp/key; cd /tmp; cp /keys/hpccinf.txt .; "
               f"({MPI.format(hosts=','.join(ADDRESSES))}) >/keys/said 2>&1; echo $? >/keys/status.new; "
               "cp hpccoutf.txt /keys/output; mv /keys/status.new /keys/status")
        _start(lab, stack, root, shared, 0, job)
        _await(lambda: _is_computing(lab, started[0]), "the ranks", 30)
        reports = _move_to_and_fro(lab, started[0], moves, shared, say)
        _await((shared / "status").exists, "the end of the job", ENDS_WITHIN_S)
        if (status := (shared / "status").read_text().strip()) != "0":
            raise BenchError(f"mpirun ended with status {status}: {(shared / 'said').read_text()[-400:]}")
        Hpcc.result((shared / "output").read_text(errors="replace"))
        return reports


def _start(lab, stack, root, shared, number, script):
    container = containers.start(lab, f"node{number + 1}", f"rank{number}", ADDRESSES[number], ["sh", "-c", script],
                                 rootfs=root, options=["--bind", f"{shared}:/keys"], edit=with_capabilities(LOGIN))
    stack.callback(container.remove, lab)
    return container


def _is_computing(lab, container):
    return "hpcc" in lab.exec(container.node, "runc", "ps", container.name).stdout


def _move_to_and_fro(lab, container, moves, shared, say):
    reports = []
    while len(reports) < moves and not (shared / "status").exists():
        result = migrate(lab, container, "node2" if container.node == "node3" else "node3")
        if not result.migrated:
            raise BenchError(f"godwit migrate: {result.why()} {result.report.get('log')}")
        reports.append(result.report)
        say(f"Open MPI: {len(reports)}/{moves}: downtime {reports[-1]['downtime_ms']:.1f} ms")
    if (shared / "status").exists() and len(reports) < moves:
        say(f"Open MPI: the job was over after {len(reports)} moves")
    return reports


def _await(condition, what, timeout_s):
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"no {what} within {timeout_s} s")
        time.sleep(0.1)
