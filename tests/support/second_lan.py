"""A second LAN beside the lab's: nodeK has `up1` in it, the client `eth1` with 10.98.0.2/16. Of one bridge, br1, or of a
chain of them: br1 has node1, br2 node2, and so on; the last one has the client."""

import contextlib

from .lab import CLIENT

SUBNET_BITS = 16
CLIENT_ADDRESS = "10.98.0.2"


@contextlib.contextmanager
def second_lan(lab, chain=False):
    lan = str(lab.holder("lan"))
    plugs = [(node, "up1", f"{node}x") for node in lab.nodes] + [(CLIENT, "eth1", "clientx")]
    switches = [f"br{number}" for number in range(1, len(plugs) + 1)] if chain else ["br1"]
    for switch in switches:
        lab.exec("lan", "ip", "link", "add", switch, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        lab.exec("lan", "ip", "link", "set", switch, "up")
    try:
        for near, far in zip(switches, switches[1:]):
            lab.exec("lan", "ip", "link", "add", f"{near}{far}", "type", "veth", "peer", "name", f"{far}{near}")
            lab.exec("lan", "ip", "link", "set", f"{near}{far}", "master", near, "up")
            lab.exec("lan", "ip", "link", "set", f"{far}{near}", "master", far, "up")
        for number, (host, device, port) in enumerate(plugs):
            lab.exec(host, "ip", "link", "add", device, "type", "veth", "peer", "name", port, "netns", lan)
            lab.exec("lan", "ip", "link", "set", port, "master", switches[number if chain else 0], "up")
            lab.exec(host, "ip", "link", "set", device, "up")
        lab.exec(CLIENT, "ip", "address", "add", f"{CLIENT_ADDRESS}/{SUBNET_BITS}", "dev", "eth1")
        yield
    finally:
        for host, device, _ in plugs:
            lab.exec(host, "ip", "link", "delete", device, check=False)
        for near, far in zip(switches, switches[1:]):
            lab.exec("lan", "ip", "link", "delete", f"{near}{far}", check=False)
        for switch in switches:
            lab.exec("lan", "ip", "link", "delete", switch)


@contextlib.contextmanager
def bridges(lab, name, ports):
    """A bridge NAME on each node, with that node's PORTS[node] in it."""
    try:
        for node in lab.nodes:
            lab.exec(node, "ip", "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            lab.exec(node, "ip", "link", "set", ports[node], "master", name)
            lab.exec(node, "ip", "link", "set", name, "up")
        yield
    finally:
        for node in lab.nodes:
            lab.exec(node, "ip", "link", "delete", name, check=False)


def inside(lab, container, *words):
    return lab.exec(container.node, "ip", "-n", container.name, *words).stdout


def add_veth(lab, container, link, bridge, address, mtu=1500):
    """A further interface of a container that runs, on a bridge of its node."""
    port = f"v{link}"
    lab.exec(container.node, "ip", "link", "add", port, "mtu", str(mtu), "type", "veth", "peer", "name", link, "mtu",
             str(mtu), "netns", container.name)
    lab.exec(container.node, "ip", "link", "set", port, "master", bridge, "up")
    give_address(lab, container, link, address)


def add_macvlan(lab, container, link, parent, address, mode="bridge"):
    lab.exec(container.node, "ip", "link", "add", "link", parent, "name", link, "netns", container.name, "type",
             "macvlan", "mode", mode)
    give_address(lab, container, link, address)


def give_address(lab, container, link, address):
    inside(lab, container, "link", "set", link, "up")
    inside(lab, container, "address", "add", address, "dev", link)
