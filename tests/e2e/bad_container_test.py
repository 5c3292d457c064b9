"""Containers that cannot move: each is refused in words that say why, by `check` and by `migrate`, and goes on."""

import subprocess
import sys

import pytest

from tests.support import container, migration
from tests.support.refusal import (assert_both_refuse, assert_check_finds, assert_refused, check, migrate_by_name)

ADDRESS = "10.99.2.41"
# Prints a line once it traces the process, and holds it until its standard input ends.
TRACER = ("import ctypes, sys\n"
          "PTRACE_SEIZE = 0x4206\n"
          "libc = ctypes.CDLL(None, use_errno=True)\n"
          "assert libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), 0, 0) == 0, ctypes.get_errno()\n"
          "print('tracing', flush=True)\n"
          "sys.stdin.read()\n")


@pytest.fixture
def started(lab):
    """started(command, …): a container on node1 that is removed after the test."""
    made = []

    def start(command=("/bin/echo_server", "--port", "7007"), **options):
        made.append(container.start(lab, "node1", "stuck", ADDRESS, command, rootfs=container.workload_rootfs(),
                                    **options))
        return made[-1]

    yield start
    for stuck in made:
        stuck.remove(lab)


def await_line(path, line):
    """Until the container has printed LINE: follows its output file."""
    with subprocess.Popen(["tail", "-n", "+1", "-F", str(path)], stdout=subprocess.PIPE, text=True) as tail:
        assert any(said.strip() == line for said in tail.stdout)
        tail.kill()


def assert_refused_unseen(lab, name, *texts):
    """Refused because it does not run: nothing was connected to, nothing is called rolled back."""
    assert_check_finds(lab, "node1", name, "node2", "container", *texts)
    result = migrate_by_name(lab, "node1", name, "node2")
    assert result.status == 1 and result.report["outcome"] == "failed"
    assert all(text in result.report["error"] for text in texts), result.report["error"]
    assert result.report["state"] == "as before: nothing was done"


def test_unknown_container(lab):
    assert_refused_unseen(lab, "nobody", "there is no container 'nobody'")


def test_name_that_is_no_name(lab):
    result = migrate_by_name(lab, "node1", "../etc", "node2")
    assert result.status == 2
    assert "container name" in result.errors


def test_stopped_container(lab, started):
    stuck = started(["/bin/line_printer", "--no-such-flag"])
    process = stuck.state(lab)
    assert process["status"] == "stopped"
    assert_refused_unseen(lab, "stuck", "'stuck' is stopped", "only a running container")
    assert stuck.state(lab) == process


def test_paused_container(lab, started):
    stuck = started()
    lab.exec("node1", "runc", "pause", "stuck")
    assert_refused_unseen(lab, "stuck", "'stuck' is paused", "runc resume")
    assert stuck.status(lab) == "paused"
    lab.exec("node1", "runc", "resume", "stuck")


def test_container_that_was_created_and_not_started(lab):
    stuck = container.prepare(lab, "node1", "stuck", ADDRESS, ["/bin/echo_server"], rootfs=container.workload_rootfs())
    container.create(lab, "node1", "stuck", stuck.bundle)
    try:
        assert_refused_unseen(lab, "stuck", "'stuck' is created", "only a running container")
    finally:
        stuck.remove(lab)


def test_network_namespace_without_a_path(lab, started):
    def edit(config):
        for namespace in config["linux"]["namespaces"]:
            namespace.pop("path", None)
    assert_both_refuse(lab, started(edit=edit), "node2", "network", "no path", "/run/netns/NAME")


def test_network_of_the_host(lab, started):
    def edit(config):
        config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"]
                                         if entry["type"] != "network"]
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "sysfs"]
    assert_both_refuse(lab, started(edit=edit), "node2", "network", "network of this host")


@pytest.mark.parametrize("program, what", [("uring_user", "an io_uring"), ("uffd_user", "a userfaultfd")])
def test_what_criu_cannot_carry_is_known_before_the_freeze(lab, started, program, what):
    stuck = started([f"/bin/{program}"])
    await_line(stuck.output, "ready")
    assert_both_refuse(lab, stuck, "node2", "criu", program, what, "CRIU cannot carry")


def test_traced_process(lab, started):
    stuck = started()
    pid = str(stuck.state(lab)["pid"])
    with subprocess.Popen([sys.executable, "-c", TRACER, pid], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as tracer:
        assert tracer.stdout.readline() == "tracing\n"
        assert_both_refuse(lab, stuck, "node2", "criu", "is traced by process", str(tracer.pid))
        tracer.stdin.close()
        tracer.wait()
    assert check(lab, "node1", "stuck", "node2") == []


def test_every_problem_is_told_at_once(lab, started):
    def edit(config):
        for namespace in config["linux"]["namespaces"]:
            namespace.pop("path", None)
    stuck = started(["/bin/uring_user"], edit=edit)
    await_line(stuck.output, "ready")
    assert_refused(lab, stuck, "node2", "an io_uring", "no path")


def test_container_that_is_being_migrated(lab, started):
    stuck = started(["/bin/echo_server", "--port", "7007", "--resident-mib", "64"])
    lab.await_port(ADDRESS, 7007)
    before = stuck.state(lab)
    lab.link("node2", "--rate", "8mbit")
    try:
        with migration.begin(lab, stuck, "node2") as ongoing:
            ongoing.await_phase("rounds")
            second = migrate_by_name(lab, "node1", "stuck", "node2")
            assert second.status == 1
            assert "'stuck' is being migrated already" in second.report["error"]
            assert_check_finds(lab, "node1", "stuck", "node2", "container", "being migrated already")
            ongoing.interrupt()
            first = ongoing.result()
    finally:
        lab.link("node2", "--rate", "off")
    assert first.status == 3 and "cancelled" in first.report["error"], first
    assert stuck.state(lab) == before
    lab.await_port(ADDRESS, 7007)


def test_mode_that_does_not_exist(lab):
    result = migrate_by_name(lab, "node1", "stuck", "node2", "--mode", "warm")
    assert result.status == 2
    assert "warm" in result.errors and "cold" in result.errors
