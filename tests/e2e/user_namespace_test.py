"""A container with a user namespace moves like any other, and its root gains nothing by it."""

import hashlib
import os
import pathlib
import random
import stat

import pytest

from tests.support import container as containers
from tests.support import processes, user_namespace
from tests.support.checker import Checker
from tests.support.exhibits import failures_of_moving, start_zoo
from tests.support.migration import begin, migrate
from tests.support.paths import BUILD

from . import sockets_tcp_test as tcp
from . import sockets_urgent_test as urgent
from .conftest import assert_runs_on

MIB = 1 << 20
OTHER_PORT, STORM_PORT = 7009, 7010
PORTS = (containers.CHECKER_PORT, OTHER_PORT, STORM_PORT)

# Root's memory, that of another user, one that maps, unmaps and forks, and files.
SCRIPT = """
echo content > /dev/shm/file; chown 1000:1000 /dev/shm/file; chmod 640 /dev/shm/file; ln -s file /dev/shm/link
dd if=/dev/urandom of=/tmp/random bs=64k count=50 2>/dev/null
/data/page_checker --port 7008 --bytes 67108864 --threads 3 --rate 41943040 &
su -s /bin/sh other -c 'exec /data/page_checker --port 7009 --bytes 33554432 --threads 2 --rate 10485760' &
/data/map_storm --port 7010 --seed {seed} --areas 80 --pages 64 --rate 2000 &
setsid sleep 1000 &
trap 'echo signalled; exit 7' TERM
while :; do wait; done
"""


@pytest.fixture
def mapped(lab, keep):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    users = BUILD / "passwd"
    users.write_text("root:x:0:0::/:/bin/sh\nother:x:1000:1000::/:/bin/sh\n")
    container = keep(containers.start(
        lab, "node1", "mapped", "10.99.2.26", ["/bin/sh", "-c", SCRIPT.format(seed=seed)],
        rootfs=containers.busybox_rootfs(),
        options=[*containers.workloads_at("/data"), "--bind", f"{users}:/etc/passwd"],
        edit=user_namespace.edit))
    for port in PORTS:
        lab.await_port(container.address, port)
    return container


@pytest.fixture
def memories(lab, mapped):
    """Connections to all of them, which move along."""
    checkers = [Checker(lab, mapped, port) for port in PORTS]
    for checker in checkers:
        checker.assert_right()
    yield checkers
    for checker in checkers:
        checker.__exit__(None, None, None)


def lasting(lab, container):
    """Of the processes that do not come and go."""
    return {pid: facts for pid, facts in user_namespace.processes(container, lab).items()
            if not (facts["Name"] == "map_storm" and facts["Threads"] == "1")}


def files(lab, container):
    """Of its tmpfs mounts: name, mode, owner, contents."""
    root = pathlib.Path(f"/proc/{container.state(lab)['pid']}/root")
    found = []
    for path in ("dev/shm/file", "dev/shm/link", "tmp/random"):
        facts = (root / path).lstat()
        link = stat.S_ISLNK(facts.st_mode)
        content = os.readlink(root / path) if link else hashlib.md5((root / path).read_bytes()).hexdigest()
        found.append((path, oct(facts.st_mode), facts.st_uid, facts.st_gid, content))
    return found


def assert_as_before(lab, container, before):
    now = lasting(lab, container)
    assert now.keys() == before.keys()
    assert [(pid, key, before[pid][key], now[pid][key])
            for pid in now for key in now[pid] if now[pid][key] != before[pid][key]] == []


@pytest.mark.parametrize("mode", ["cold", "precopy", "postcopy", "hybrid"])
def test_container_moves_there_and_back(lab, mapped, memories, mode):
    before, files_before = lasting(lab, mapped), files(lab, mapped)
    assert files_before[0][2] == user_namespace.FIRST_ID + 1000
    users = {facts["Uid"].split()[0] for facts in before.values()}
    assert users == {str(user_namespace.FIRST_ID), str(user_namespace.FIRST_ID + 1000)}, before
    assert all(facts["Seccomp"] == "2" for facts in before.values()), before
    for target, source in (("node2", "node1"), ("node1", "node2")):
        migration = migrate(lab, mapped, target, mode=mode, options=["--at-limit", "take-downtime"])
        assert migration.migrated, migration.why()
        assert migration.report["mode"] == mode, migration.report["notes"]
        assert migration.report["pages_sent"] >= 96 * MIB // 4096 * 0.9
        if mode in ("precopy", "hybrid"):
            assert migration.report["rounds"] and migration.report["tracking"] == "uffd-wp"
        assert_runs_on(lab, mapped, target, not_on=source)
        for memory in memories:
            memory.assert_right()
        assert_as_before(lab, mapped, before)
        assert files(lab, mapped) == files_before
        assert not [note for note in migration.report["notes"] if "CRIU's images" in note], migration.report["notes"]
    init = os.pidfd_open(mapped.state(lab)["pid"])
    lab.exec(mapped.node, "runc", "kill", mapped.name, "TERM")
    processes.await_end(init)
    os.close(init)
    assert mapped.output.read_text().endswith("signalled\n")


def test_container_goes_on_after_a_cancel_between_rounds(lab, mapped, memories):
    before = lasting(lab, mapped)
    options = ["--downtime-max", "1ms", "--bandwidth-max", "30MB/s"]
    with begin(lab, mapped, "node2", mode="hybrid", options=options) as ongoing:
        ongoing.await_phase("rounds")
        ongoing.interrupt()
        assert ongoing.result().status == 3
    assert_runs_on(lab, mapped, "node1", not_on="node2")
    for memory in memories:
        memory.assert_right()
    assert_as_before(lab, mapped, before)


@pytest.mark.parametrize("victim", ["node1", "node2"])
def test_container_goes_on_after_criu_died_in_the_switch_over(lab, mapped, memories, victim):
    lab.link("node2", "--rate", "100mbit")
    try:
        with begin(lab, mapped, "node2", mode="cold") as ongoing:
            ongoing.await_phase("restore")
            criu = processes.criu(victim)
            processes.kill(criu)
            os.close(criu)
            migration = ongoing.result()
    finally:
        lab.link("node2", "--rate", "off")
    assert migration.status == 3 and migration.report["outcome"] == "rolled_back", migration.why()
    assert_runs_on(lab, mapped, "node1", not_on="node2")
    for memory in memories:
        memory.assert_right()


def test_tcp_sockets_are_restored_without_rights_over_the_network(lab, keep):
    """Repair mode, queues and finished directions: what CRIU needs rights for that the container's root has not."""
    zoo = keep(start_zoo(lab, edit_more=user_namespace.edit))
    exhibits = [tcp.full_queues, tcp.half_closed_by_the_client, tcp.half_closed_by_the_container, tcp.closing,
                tcp.last_acknowledgement, tcp.mapped_address, urgent.before_other_data]
    assert failures_of_moving(lab, zoo, exhibits, ["node2", "node1"]) == {}
