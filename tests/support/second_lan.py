"""A second LAN beside the lab's: nodeK has `up1` in it, the client `eth1` with 10.98.0.2/16."""

import contextlib

from .lab import CLIENT

SUBNET_BITS = 16
CLIENT_ADDRESS = "10.98.0.2"


@contextlib.contextmanager
def second_lan(lab):
    lan = str(lab.holder("lan"))
    plugs = [(node, "up1", f"{node}x") for node in lab.nodes] + [(CLIENT, "eth1", "clientx")]
    lab.exec("lan", "ip", "link", "add", "br1", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    try:
        for host, device, port in plugs:
            lab.exec(host, "ip", "link", "add", device, "type", "veth", "peer", "name", port, "netns", lan)
            lab.exec("lan", "ip", "link", "set", port, "master", "br1", "up")
            lab.exec(host, "ip", "link", "set", device, "up")
        lab.exec("lan", "ip", "link", "set", "br1", "up")
        lab.exec(CLIENT, "ip", "address", "add", f"{CLIENT_ADDRESS}/{SUBNET_BITS}", "dev", "eth1")
        yield
    finally:
        for host, device, _ in plugs:
            lab.exec(host, "ip", "link", "delete", device, check=False)
        lab.exec("lan", "ip", "link", "delete", "br1")


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
