"""HPC Challenge over TCP between three containers on two hosts: the first starts the others' ranks by ssh, as Open MPI
does, and the second, which shares the first one's host at the beginning, is the one to be moved."""

import time

from tests.support import container as containers
from tests.support.lab import LabError

from ..peers_ssh import LOGIN, add_account, make_keys, sshd_script, with_capabilities
from .methods import other_node
from .workloads import NAME, fresh_address, rootfs

RANKS = 3
OTHERS = [f"{NAME}-first", f"{NAME}-third"]
STARTED_WITHIN_S = 60
MPI = ("export HOME=/tmp OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
       "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/blas:/usr/lib/x86_64-linux-gnu/lapack; "
       "mpirun.openmpi --host {hosts} --wdir /tmp -x LD_LIBRARY_PATH -x OMP_NUM_THREADS=1 "
       "--mca plm_rsh_args '-i /tmp/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR' "
       "--mca btl tcp,self --mca pml ob1 --mca mtl ^psm,psm2,ofi --mca btl_tcp_if_include eth0 "
       "--mca oob_tcp_if_include eth0 --mca mpi_yield_when_idle 1 hpcc")


def start(lab, node, directory, _parameters):
    """The container to be moved, once its rank computes. DIRECTORY has the input, and gets output and status."""
    root = rootfs("openmpi")
    add_account(root, "sshd", 998)
    make_keys(directory)
    first, moved, third = (fresh_address() for _ in range(RANKS))

    def container(name, where, address, script):
        return containers.start(lab, where, name, address, ["sh", "-c", script], rootfs=root, output=False,
                                options=["--bind", f"{directory}:/keys"], edit=with_capabilities(LOGIN))

    container(OTHERS[1], other_node(node), third, sshd_script())
    ours = container(NAME, node, moved, sshd_script())
    for address in (moved, third):
        lab.await_port(address, 22)
    hosts = ",".join((first, moved, third))
    # The status last, by a rename: once it is there, so is the output.
    container(OTHERS[0], node, first,
              "cp /keys/client /tmp/key; chmod 600 /tmp/key; cd /tmp; cp /keys/hpccinf.txt .; "
              f"({MPI.format(hosts=hosts)}) >/keys/said 2>&1; echo $? >/keys/status.new; "
              "cp hpccoutf.txt /keys/output || cp /keys/said /keys/output; mv /keys/status.new /keys/status")
    _await_rank(lab, ours)
    return ours


def _await_rank(lab, container):
    end = time.monotonic() + STARTED_WITHIN_S
    while "hpcc" not in lab.exec(container.node, "runc", "ps", container.name).stdout:
        if time.monotonic() > end:
            raise LabError(f"no rank in {container.name} within {STARTED_WITHIN_S} s")
        time.sleep(0.05)
