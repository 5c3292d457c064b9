"""Ways in which a container's interfaces are attached, besides one veth on a bridge."""

import contextlib
import select
import subprocess

import pytest

from tests.support import client as clients
from tests.support import container as containers
from tests.support.agent_setup import configured_everywhere
from tests.support.lab import CLIENT
from tests.support.migration import begin, migrate
from tests.support.refusal import assert_check_finds
from tests.support.second_lan import add_macvlan, add_veth, bridges, inside, second_lan

GAP_BEYOND_DOWNTIME_MS_MAX = 250  # loose: the bench measures it


@contextlib.contextmanager
def links_named(lab, **names):
    """Both agents know these names in [links]."""
    lines = "".join(f'{there} = "{here}"\n' for there, here in names.items())
    with configured_everywhere(lab, ("[network]", f"[links]\n{lines}\n[network]")):
        yield


def assert_connections_go_on(lab, container, addresses, there_and_back):
    """One connection to each address of the echo container, all used without a pause."""
    with contextlib.ExitStack() as stack:
        connected = [stack.enter_context(clients.echo_client(lab.prefix(CLIENT), host=address, port=containers.ECHO_PORT))
                     for address in addresses]
        for each in connected:
            each.mark("before")

        def gap_is_the_downtime(migration):
            for each in connected:
                during = each.mark("during")
                assert during["requests"] > 0
                assert during["max_latency_ms"] <= migration.report["downtime_ms"] + GAP_BEYOND_DOWNTIME_MS_MAX
                each.mark("after")

        there_and_back(container, gap_is_the_downtime)
        for each in connected:
            each.stop()


def test_two_interfaces_on_two_bridges(lab, echo, there_and_back):
    with second_lan(lab), bridges(lab, "br1", {node: "up1" for node in lab.nodes}), links_named(lab, br1="br1"):
        add_veth(lab, echo, "eth1", "br1", "10.98.2.11/16")
        before = inside(lab, echo, "-br", "address")
        assert_connections_go_on(lab, echo, ["10.99.2.11", "10.98.2.11"], there_and_back)
        assert [line.split()[2:] for line in inside(lab, echo, "-br", "address").splitlines()] == \
            [line.split()[2:] for line in before.splitlines()]


def test_a_bridge_that_is_missing_for_one_of_them_is_named(lab, echo):
    with second_lan(lab), bridges(lab, "br1", {node: "up1" for node in lab.nodes}), links_named(lab, br1="other"):
        add_veth(lab, echo, "eth1", "br1", "10.98.2.11/16")
        assert_check_finds(lab, "node1", echo.name, "node2", "bridge", "other, for the container's eth1, does not exist "
                           "on node2", "[links]")


def test_a_bridge_that_filters_vlans(lab, echo, there_and_back):
    """The container is in VLAN 30, whose frames have a tag between the hosts."""
    with second_lan(lab), bridges(lab, "br1", {node: "up1" for node in lab.nodes}), links_named(lab, br1="br1"):
        for node in lab.nodes:
            if lab.exec(node, "ip", "link", "set", "br1", "type", "bridge", "vlan_filtering", "1", check=False).returncode:
                pytest.skip("this kernel's bridges do not filter VLANs")
            lab.exec(node, "bridge", "vlan", "add", "vid", "30", "dev", "up1")
        add_veth(lab, echo, "eth1", "br1", "10.97.2.11/16")
        lab.exec("node1", "bridge", "vlan", "del", "vid", "1", "dev", "veth1")
        lab.exec("node1", "bridge", "vlan", "add", "vid", "30", "dev", "veth1", "pvid", "untagged")
        lab.exec(CLIENT, "ip", "link", "add", "link", "eth1", "name", "vlan30", "type", "vlan", "id", "30")
        lab.exec(CLIENT, "ip", "address", "add", "10.97.0.2/16", "dev", "vlan30")
        lab.exec(CLIENT, "ip", "link", "set", "vlan30", "up")
        assert_connections_go_on(lab, echo, ["10.97.2.11"], there_and_back)


def test_several_bridges_between_the_hosts_and_the_client(lab, echo, there_and_back):
    """All of them learn where the container is now."""
    with second_lan(lab, chain=True), bridges(lab, "brc", {node: "up1" for node in lab.nodes}), \
            links_named(lab, brc="brc"):
        add_veth(lab, echo, "eth1", "brc", "10.98.2.11/16")
        assert_connections_go_on(lab, echo, ["10.98.2.11"], there_and_back)


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa"])
def test_macvlan(lab, echo, there_and_back, mode):
    with second_lan(lab):
        add_macvlan(lab, echo, "mv0", "up1", "10.98.2.11/16", mode)
        assert_connections_go_on(lab, echo, ["10.98.2.11"], there_and_back)
        assert mode in inside(lab, echo, "-d", "link", "show", "mv0")


def segments_sent_again(lab):
    """By the client, ever."""
    names, values = (line.split()[1:] for line in lab.exec(CLIENT, "cat", "/proc/net/snmp").stdout.splitlines()
                     if line.startswith("Tcp:"))
    return int(dict(zip(names, values))["RetransSegs"])


@contextlib.contextmanager
def learning(lab):
    """The lines that the second LAN's bridge says when it learns that a MAC is behind another port."""
    told = "02:00:00:00:00:99"
    with lab.popen("lan", "bridge", "monitor", "fdb", text=True, stdout=subprocess.PIPE) as monitor:
        while not select.select([monitor.stdout], [], [], 0)[0]:  # it has begun to listen
            lab.exec("lan", "bridge", "fdb", "replace", told, "dev", "node1x", "master", "static")
        lines = []
        try:
            yield lines
        finally:
            monitor.terminate()
            lines += [line for line in monitor.communicate()[0].splitlines() if not line.startswith(("Deleted", told))]


def test_what_comes_for_a_macvlan_is_held(lab, echo):
    """The client sends nothing again; a downtime of more than 200 ms, TCP's shortest time-out, is no loss. What the
    kernel still says for the source's macvlan does not make the LAN send frames there once more."""
    def inevitable(downtime_ms):
        return sum(downtime_ms + 50 > after_ms for after_ms in (200, 600, 1400, 3000))

    with second_lan(lab):
        add_macvlan(lab, echo, "mv0", "up1", "10.98.2.11/16")
        mac = inside(lab, echo, "-br", "link", "show", "mv0").split()[2]
        with clients.echo_client(lab.prefix(CLIENT), host="10.98.2.11", port=containers.ECHO_PORT) as connected, \
                learning(lab) as learned:
            again = segments_sent_again(lab)
            for target in ["node2", "node1"] * 3:
                migration = migrate(lab, echo, target)
                assert migration.migrated, migration.why()
                connected.mark(target)
                figures = migration.report["figures"]
                assert figures["target_frames_delivered"] == figures["frames_held"] > 0
                assert "macvlan" not in " ".join(migration.report["notes"])
                again += inevitable(migration.report["downtime_ms"])
            assert segments_sent_again(lab) <= again
            connected.stop()
        ports = [line.split()[2] for line in learned if line.startswith(mac)]
        assert ports == ["node2x", "node1x"] * 3


def test_macvlan_after_a_rollback(lab, echo):
    with second_lan(lab):
        add_macvlan(lab, echo, "mv0", "up1", "10.98.2.11/16")
        with clients.echo_client(lab.prefix(CLIENT), host="10.98.2.11", port=containers.ECHO_PORT) as connected:
            with begin(lab, echo, "node2", mode="cold") as ongoing:
                ongoing.await_phase("dump")
                lab.agent("node2", "kill")
                migration = ongoing.result()
            lab.agent("node2", "start")
            assert migration.status == 3, migration.why()
            assert connected.mark("rolled back")["requests"] > 0
            assert connected.mark("afterwards")["requests"] > 0
            connected.stop()


@pytest.fixture
def overlay(lab):
    """VXLAN 42 between all hosts over the lab's LAN: bridge brv on the nodes, 10.97.0.2 on the client."""
    ends = {"node1": "10.99.1.1", "node2": "10.99.1.2", CLIENT: "10.99.0.2"}
    ports = {}
    with contextlib.ExitStack() as stack:
        for host, address in ends.items():
            device = lab.exec(host, "sh", "-c", f"ip -o address show to {address} | awk '{{print $2}}'").stdout.strip()
            lab.exec(host, "ip", "link", "add", "vx42", "type", "vxlan", "id", "42", "dstport", "4789", "local", address,
                     "dev", device)
            stack.callback(lab.exec, host, "ip", "link", "delete", "vx42", check=False)
            for other in ends.values():
                if other != address:
                    lab.exec(host, "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx42", "dst", other)
            lab.exec(host, "ip", "link", "set", "vx42", "up")
            ports[host] = "vx42"
        lab.exec(CLIENT, "ip", "address", "add", "10.97.0.2/16", "dev", "vx42")
        with bridges(lab, "brv", ports):
            yield


def test_veth_on_a_vxlan_overlay(lab, echo, overlay, there_and_back):
    with links_named(lab, brv="brv"):
        add_veth(lab, echo, "eth1", "brv", "10.97.2.11/16", mtu=1450)
        assert_connections_go_on(lab, echo, ["10.97.2.11"], there_and_back)
