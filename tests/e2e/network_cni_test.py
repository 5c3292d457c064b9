"""Namespaces that CNI plugins made: a container manager finds its state right on both hosts."""

import shutil
import subprocess

import pytest

from tests.support import client as clients
from tests.support import cni
from tests.support import container as containers
from tests.support.agent_setup import configured_everywhere
from tests.support.lab import CLIENT
from tests.support.refusal import assert_both_refuse, assert_refused
from tests.support.second_lan import second_lan


@pytest.fixture
def agents(lab):
    """Both agents look for CNI's files below /run, which each node has for itself."""
    section = f'[cni]\nconf_dir = "{cni.ROOT}/net.d"\ncache_dir = "{cni.ROOT}"\n\n[network]'
    with configured_everywhere(lab, ("[network]", section)):
        yield
    for node in lab.nodes:
        shutil.rmtree(lab.root(node) / cni.ROOT.lstrip("/"), ignore_errors=True)


@pytest.fixture
def start(lab, agents, keep):
    """start(main plugin): an echo container on node1 whose eth0 the plugins made."""

    def run(main):
        config = cni.conflist(main)
        for node in lab.nodes:
            cni.configure(lab, node, config)
        made = keep(containers.prepare(lab, "node1", "echo", "10.99.2.99", containers.echo_command(),
                                       rootfs=containers.workload_rootfs()))
        lab.exec("node1", "ip", "-n", "echo", "link", "delete", "eth0")
        made.address = cni.add(lab, "node1", config, "/run/netns/echo")
        process = lab.popen("node1", "runc", "run", "-d", "--bundle", str(made.bundle), "echo",
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert process.wait() == 0
        lab.await_port(made.address, containers.ECHO_PORT)
        return made

    return run


def assert_state_moves_with_it(lab, container, there_and_back):
    name = f"{cni.NETWORK}-{cni.CONTAINER_ID}-eth0"
    with clients.echo_client(lab.prefix(CLIENT), host=container.address, port=containers.ECHO_PORT) as connected:

        def is_where_the_container_is(migration):
            assert migration.report["notes"] == []
            away = next(node for node in lab.nodes if node != container.node)
            assert cni.allocated(lab, container.node) == [container.address]
            assert cni.results(lab, container.node) == [name]
            assert cni.allocated(lab, away) == [] and cni.results(lab, away) == []
            assert connected.mark("moved")["requests"] > 0

        there_and_back(container, is_where_the_container_is)
        connected.stop()
    # Now the manager ends it, with what it finds.
    lab.exec(container.node, "runc", "delete", "--force", container.name)
    cni.delete(lab, container.node, "/run/netns/echo")
    assert cni.allocated(lab, container.node) == [] and cni.results(lab, container.node) == []
    assert "eth0" not in lab.exec(container.node, "ip", "-n", container.name, "link").stdout


def test_bridge_with_host_local(lab, start, there_and_back):
    assert_state_moves_with_it(lab, start({"type": "bridge", "bridge": "br0"}), there_and_back)


def test_macvlan_with_host_local(lab, start, there_and_back):
    with second_lan(lab):
        lab.exec(CLIENT, "ip", "route", "add", "10.99.2.100/32", "dev", "eth1", "src", "10.99.0.2")
        assert_state_moves_with_it(lab, start({"type": "macvlan", "master": "up1"}), there_and_back)


def test_address_that_ipam_has_given_out_on_the_target(lab, start):
    container = start({"type": "bridge", "bridge": "br0"})
    taken = lab.root("node2") / f"{cni.ROOT}/networks/{cni.NETWORK}/{container.address}".lstrip("/")
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"another\r\neth0")
    assert_refused(lab, container, "node2", "CNI plugin host-local, ADD", container.address)
    assert taken.read_bytes() == b"another\r\neth0"
    assert cni.allocated(lab, "node1") == [container.address]


def test_network_that_the_target_does_not_have(lab, start):
    container = start({"type": "bridge", "bridge": "br0"})
    (lab.root("node2") / f"{cni.ROOT}/net.d/10-test.conflist".lstrip("/")).unlink()
    assert_both_refuse(lab, container, "node2", "cni", f"the CNI network '{cni.NETWORK}' of the container's eth0 is not in",
                       "on node2")
