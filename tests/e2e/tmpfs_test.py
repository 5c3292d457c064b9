"""Files in a container's tmpfs mounts arrive as they are, travel while it runs, and are not the freeze's burden."""

import pytest

from tests.support import container as containers
from tests.support.migration import begin, migrate

MIB = 1 << 20

# What there is to know of every file; the sums of those with content behind it. Files of /proc are masked by the host's
# /dev/null, which is on another file system on every host.
LIST = r"""
{ find /dev -xdev ! -type c ! -type d; find /dev/shm /tmp /run ! -path /tmp ! -path /tmp/list; } | sort > /tmp/list
while read -r f; do stat -c '%n %F %a %u %g %h %Y %t %T' "$f"; done < /tmp/list; rm /tmp/list
find /dev/shm /tmp /run -type f | sort | while read -r f; do stat -c '%s' "$f"; md5sum "$f"; done
find /dev/shm /tmp /run -type l | sort | while read -r f; do readlink "$f"; done
mount | grep -v ' on /proc/[kt]' | sort
"""

MAKE = r"""
cd /dev/shm
echo content > file; chmod 4751 file; chown 12:34 file; touch -d '2001-02-03 04:05:06' file
mkdir -p tree/deep/er; echo deep > tree/deep/er/file; ln tree/deep/er/file hard; ln -s /nowhere/at\ all symbolic
mkfifo fifo; chmod 620 fifo
dd if=/dev/zero of=sparse bs=1 count=1 seek=100000000 2>/dev/null
dd if=/dev/urandom of=/tmp/random bs=64k count=50 2>/dev/null
echo run > /run/pid; chmod 1777 /run; mknod /dev/shm/node p
touch -d '2002-02-03 04:05:06' tree/deep
"""


@pytest.fixture
def box(lab, keep):
    """A container with a shell, and the way to it."""
    container = keep(containers.start(lab, "node1", "box", "10.99.2.20", ["/bin/sh", "-c", "while :; do sleep 1; done"],
                                      rootfs=containers.busybox_rootfs()))

    def shell(script):
        return lab.exec(container.node, "runc", "exec", container.name, "/bin/sh", "-c", script).stdout

    container.shell = shell
    return container


def test_every_kind_of_file_arrives(lab, box):
    box.shell(MAKE)
    before = box.shell(LIST)
    assert "/dev/shm/tree/deep/er/file" in before
    for mode, target in (("cold", "node2"), ("hybrid", "node1"), ("precopy", "node2"), ("postcopy", "node1")):
        migration = migrate(lab, box, target, mode=mode)
        assert migration.migrated, migration.why()
        assert set(box.shell(LIST).splitlines()) ^ set(before.splitlines()) == set()
        assert not [note for note in migration.report["notes"] if "CRIU's images" in note]


def test_a_large_file_costs_no_downtime(lab, box):
    box.shell("dd if=/dev/urandom of=/dev/shm/large bs=1M count=60 2>/dev/null; "
              "dd if=/dev/urandom of=/tmp/large bs=1M count=196 2>/dev/null;"
              "md5sum /dev/shm/large /tmp/large > /tmp/sum")
    migration = migrate(lab, box, "node2")
    assert migration.migrated, migration.why()
    figures = migration.report["figures"]
    assert figures["tmpfs_bytes"] > 256 * MIB
    assert figures["tmpfs_frozen_bytes"] < MIB
    box.shell("md5sum -c /tmp/sum")


def test_files_that_change_during_rounds_arrive(lab, box, slow_link):
    box.shell("dd if=/dev/urandom of=/dev/shm/ballast bs=1M count=30 2>/dev/null; cd /tmp; mkdir old; echo a > old/a;"
              "echo gone > gone; echo b > renamed")
    with begin(lab, box, "node2", mode="hybrid") as ongoing:
        ongoing.await_phase("rounds")
        box.shell("cd /tmp; rm gone; mv renamed new-name; mv old moved; echo b >> moved/a; echo new > new;"
                  "dd if=/dev/urandom of=/dev/shm/ballast bs=1M count=1 seek=3 conv=notrunc 2>/dev/null;"
                  "md5sum /dev/shm/ballast /tmp/moved/a /tmp/new /tmp/new-name > /tmp/sum")
        migration = ongoing.result()
    assert migration.migrated, migration.why()
    box.shell("md5sum -c /tmp/sum")
    assert box.shell("ls /tmp").split() == ["moved", "new", "new-name", "sum"]


def test_a_cancelled_migration_leaves_the_files_and_nothing_on_the_target(lab, box, slow_link):
    box.shell("dd if=/dev/urandom of=/dev/shm/ballast bs=1M count=30 2>/dev/null; md5sum /dev/shm/ballast > /tmp/sum")
    mounts = lab.exec("node2", "cat", "/proc/mounts").stdout
    with begin(lab, box, "node2", mode="hybrid") as ongoing:
        ongoing.await_phase("rounds")
        ongoing.interrupt()
        assert ongoing.result().status == 3
    box.shell("md5sum -c /tmp/sum")
    assert lab.exec("node2", "cat", "/proc/mounts").stdout == mounts
