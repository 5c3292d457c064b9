"""Targets that cannot take the container: said by `check` and by `migrate` before anything is touched."""

import shutil
import tempfile

import pytest

from tests.support import container
from tests.support.agent_setup import configured
from tests.support.refusal import assert_both_refuse, assert_check_finds, check, migrate_by_name

ROOTFS = "/run/test-rootfs"  # below /run: a directory of its own on each node
CRIU = 'criu = "/opt/godwit/criu/bin/criu"'
DEBIAN_CRIU = "/usr/sbin/criu"


@pytest.fixture
def private_rootfs(lab):
    """private_rootfs(node): makes a copy of the workloads' root file system there, and returns its place as seen from
    here."""
    made = []

    def make(node):
        place = lab.root(node) / ROOTFS.lstrip("/")
        shutil.copytree(container.workload_rootfs(), place)
        made.append(place)
        return place

    yield make
    for place in made:
        shutil.rmtree(place)


@pytest.fixture
def from_private_rootfs(lab, keep, private_rootfs):
    """A container on node1 whose root file system only that node has."""
    private_rootfs("node1")
    return keep(container.start(lab, "node1", "rooted", "10.99.2.42", container.echo_command(), rootfs=ROOTFS))


def test_same_host(lab, echo):
    assert_both_refuse(lab, echo, "node1", "target", "on node1 already")


def test_unknown_host(lab, echo):
    assert_both_refuse(lab, echo, "node7", "connection", "unknown host 'node7'", "[peers]")


def test_host_that_is_no_name(lab, echo):
    result = migrate_by_name(lab, "node1", echo.name, "10.99.1.2:7410/x")
    assert result.status == 2
    assert "node name" in result.errors
    assert echo.status(lab) == "running"


def test_name_that_is_taken(lab, echo, keep):
    other = container.prepare(lab, "node2", "other", "10.99.2.42", container.echo_command(),
                              rootfs=container.workload_rootfs())
    container.create(lab, "node2", echo.name, other.bundle)
    try:
        assert_both_refuse(lab, echo, "node2", "name", "a container 'echo' on node2 already")
        assert echo.status(lab, "node2") == "created"
    finally:
        lab.exec("node2", "runc", "delete", "--force", echo.name)
        lab.exec("node2", "ip", "netns", "delete", "other")


def test_network_namespace_that_is_taken(lab, echo):
    lab.exec("node2", "ip", "netns", "add", echo.name)
    try:
        assert_both_refuse(lab, echo, "node2", "network", "/run/netns/echo exists on node2 already")
    finally:
        lab.exec("node2", "ip", "netns", "delete", echo.name)


def test_missing_root_file_system(lab, from_private_rootfs):
    assert_both_refuse(lab, from_private_rootfs, "node2", "rootfs", f"{ROOTFS} does not exist on node2",
                       "the same on both hosts")


def test_program_of_another_size(lab, from_private_rootfs, private_rootfs):
    program = private_rootfs("node2") / "bin/echo_server"
    here = program.stat().st_size
    with open(program, "ab") as file:
        file.write(b"newer")
    assert_both_refuse(lab, from_private_rootfs, "node2", "rootfs", f"{ROOTFS}/bin/echo_server has {here + 5} bytes "
                       f"on node2 and {here} on the source")


def test_program_of_another_mode(lab, from_private_rootfs, private_rootfs):
    program = private_rootfs("node2") / "bin/echo_server"
    program.chmod(0o700)
    assert_both_refuse(lab, from_private_rootfs, "node2", "rootfs", "bin/echo_server has mode 700 on node2")


def test_missing_program(lab, from_private_rootfs, private_rootfs):
    (private_rootfs("node2") / "bin/echo_server").unlink()
    assert_both_refuse(lab, from_private_rootfs, "node2", "rootfs", f"{ROOTFS}/bin/echo_server is missing on node2")


def test_program_that_is_a_link_out_of_the_root(lab, from_private_rootfs, private_rootfs):
    program = private_rootfs("node2") / "bin/echo_server"
    program.unlink()
    program.symlink_to(container.workload_rootfs() + "/bin/echo_server")
    assert_both_refuse(lab, from_private_rootfs, "node2", "rootfs", "bin/echo_server is missing on node2")


def test_same_root_file_system_in_another_place_of_storage(lab, from_private_rootfs, private_rootfs):
    private_rootfs("node2")
    assert check(lab, "node1", from_private_rootfs.name, "node2") == []


def test_too_little_memory(lab, echo):
    with configured(lab, "node2", ("[runtime]", "[limits]\nimage_bytes_max = 33554432\n\n[runtime]")):
        assert_both_refuse(lab, echo, "node2", "memory", "MiB; limits.image_bytes_max on node2 is 32 MiB")


def test_missing_bridge(lab, echo):
    with configured(lab, "node2", ('bridge = "br0"', 'bridge = "nobr"')):
        assert_both_refuse(lab, echo, "node2", "bridge", "nobr", "on node2", "network.bridge")


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_missing_criu(lab, echo, node):
    with configured(lab, node, (CRIU, 'criu = "/no/such/criu"')):
        assert_both_refuse(lab, echo, "node2", "criu", "criu is missing: /no/such/criu does not exist",
                           "runtime.criu")


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_criu_that_does_not_work_on_this_kernel(lab, echo, node):
    version = lab.exec(node, DEBIAN_CRIU, "--version").stdout.splitlines()[0].split()[-1]
    with configured(lab, node, (CRIU, f'criu = "{DEBIAN_CRIU}"')):
        assert_both_refuse(lab, echo, "node2", "criu", f"criu {version} ({DEBIAN_CRIU}) is unfit", "tools/bootstrap")


def test_missing_runc(lab, echo):
    with configured(lab, "node2", ('runc = "', 'runc = "/no/such')):
        assert_both_refuse(lab, echo, "node2", "runc", "/no/such")


def test_run_directory_on_a_disk(lab, echo):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:  # /tmp is a tmpfs, on Debian 13
        with configured(lab, "node2", ("[agent]", f'[agent]\nrun_dir = "{place}"')):
            assert_both_refuse(lab, echo, "node2", "run_dir", f"{place} is not on a tmpfs")


def test_missing_source_of_a_bind_mount(lab, keep, tmp_path):
    place = lab.root("node1") / "run/only-here"
    place.mkdir()
    bound = keep(container.start(lab, "node1", "bound", "10.99.2.42", container.echo_command(),
                                 rootfs=container.workload_rootfs(), edit=lambda config: config["mounts"].append(
                                     {"destination": "/tmp/data", "type": "bind", "source": "/run/only-here",
                                      "options": ["bind", "rw"]})))
    try:
        assert_both_refuse(lab, bound, "node2", "mounts", "/run/only-here (mounted on /tmp/data) does not exist on node2")
    finally:
        lab.exec("node1", "runc", "delete", "--force", bound.name)
        place.rmdir()


def test_output_file_whose_directory_is_missing(lab, keep):
    logged = keep(container.prepare(lab, "node1", "logged", "10.99.2.42", container.echo_command(),
                                    rootfs=container.workload_rootfs()))
    try:
        lab.exec("node1", "sh", "-c", "mkdir /run/logs && exec runc run -d --bundle \"$0\" logged "
                 "</dev/null >/run/logs/out 2>&1", str(logged.bundle))
        assert_both_refuse(lab, logged, "node2", "streams", "/run/logs", "does not exist on node2")
    finally:
        lab.exec("node1", "runc", "delete", "--force", logged.name)
        shutil.rmtree(lab.root("node1") / "run/logs")


def test_check_changes_nothing(lab, echo):
    before = echo.state(lab)
    assert check(lab, "node1", echo.name, "node2") == []
    assert echo.state(lab) == before
    assert_check_finds(lab, "node1", echo.name, "node1", "target", "already")  # and a second one is as good
