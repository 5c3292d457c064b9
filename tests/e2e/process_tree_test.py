"""A container of several processes and threads moves as one."""

import os

from tests.support import container as containers
from tests.support.conversation import Conversation
from tests.support.processes import await_end

# A shell with two servers, one of them with threads, and a child that sleeps in a session of its own.
SCRIPT = """
/opt/echo_server --port 7007 --resident-mib 1 &
/opt/memory_writer --port 7008 --size-mib 8 --threads 3 --rate-mib 20 &
setsid sleep 1000 &
trap 'echo signalled; exit 7' TERM
while :; do wait; done
"""


def processes(lab, container):
    """(pid, name, threads, session) as the container sees them."""
    said = lab.exec(container.node, "runc", "exec", container.name, "/bin/sh", "-c",
                    "cd /proc; for p in [0-9]*; do [ $p = $$ ] || echo $p $(cut -d' ' -f2,6,20 $p/stat); done")
    return sorted(line for line in said.stdout.splitlines() if "cut" not in line)


def test_processes_threads_and_sessions_stay_as_they_were(lab, keep, there_and_back):
    tree = keep(containers.start(lab, "node1", "tree", "10.99.2.24", ["/bin/sh", "-c", SCRIPT],
                                 rootfs=containers.busybox_rootfs(),
                                 options=containers.workloads_at("/opt")))
    lab.await_port(tree.address, containers.ECHO_PORT)
    lab.await_port(tree.address, containers.MEMORY_WRITER_PORT)
    with Conversation(lab, tree.address, containers.ECHO_PORT) as echo, \
            Conversation(lab, tree.address, containers.MEMORY_WRITER_PORT) as writer:
        echo.ask("one")
        writer.ask("stat")
        before = processes(lab, tree)
        assert len(before) == 4, before

        def all_of_them_work(_):
            assert processes(lab, tree) == before
            assert echo.ask("verify") == "ok"
            assert writer.ask("verify").startswith("ok ")

        there_and_back(tree, all_of_them_work)

    # The shell still gets its signals, and its last words their place.
    init = os.pidfd_open(tree.state(lab)["pid"])
    lab.exec(tree.node, "runc", "kill", tree.name, "TERM")
    await_end(init)
    os.close(init)
    assert tree.output.read_text().endswith("signalled\n")
