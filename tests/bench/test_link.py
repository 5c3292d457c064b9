"""Latency between the lab's hosts where the kernel has no sch_netem."""

import hashlib
import json
import random
import re
import subprocess

import pytest

from bench.evaluation import link
from tests.support.lab import Lab, LabError
from tests.support.latency import delayed

LATENCY_MS = 15
# Prints a hash of what it received.
SERVER = """
import hashlib, socket
with socket.create_server(("10.99.1.2", 5000)) as server:
    print("listening", flush=True)
    connection = server.accept()[0]
    received = hashlib.sha256()
    while data := connection.recv(1 << 20):
        received.update(data)
print(received.hexdigest())"""
CLIENT = """
import random, socket
with socket.create_connection(("10.99.1.2", 5000)) as connection:
    connection.sendall(random.Random(1).randbytes(1 << 25))"""


@pytest.fixture(scope="module")
def lab():
    with Lab.up(hosts=2, agents=False) as up:
        yield up


def round_trip_ms(lab, source, address):
    said = lab.exec(source, "ping", "-c", "3", "-i", "0.05", "-q", address).stdout
    return float(re.search(r"= ([\d.]+)/", said)[1])


def links(lab):
    return {(device["ifname"], device.get("master"))
            for device in json.loads(lab.exec("lan", "ip", "-json", "link", "show").stdout)}


def test_what_each_node_sends_is_delayed_and_afterwards_all_is_as_before(lab):
    before = links(lab)
    with delayed(lab, LATENCY_MS):
        assert round_trip_ms(lab, "node1", "10.99.1.2") >= 2 * LATENCY_MS
        assert round_trip_ms(lab, "node1", "fd00:99::1:2") >= 2 * LATENCY_MS
        assert LATENCY_MS <= round_trip_ms(lab, "client", "10.99.1.2") < 2 * LATENCY_MS, "the client's own way is short"
        assert ("node1", "slow-node1") in links(lab)
    assert links(lab) == before
    assert round_trip_ms(lab, "node1", "10.99.1.2") < LATENCY_MS


def test_data_in_large_frames_arrives(lab):
    with link.conditioned(lab, {"link": "10gbit", "latency_ms": 1}, has_netem=False), lab.popen(
            "node2", "/usr/bin/python3", "-c", SERVER, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "listening\n"
        lab.exec("node1", "/usr/bin/python3", "-c", CLIENT)
        assert server.stdout.read().strip() == hashlib.sha256(random.Random(1).randbytes(1 << 25)).hexdigest()
    assert "tbf" not in lab.exec("node2", "tc", "qdisc", "show", "dev", "uplink").stdout


def test_a_delay_line_that_cannot_be_made_is_said(lab):
    lab.exec("lan", "ip", "link", "add", "far-node2", "type", "bridge")
    before = links(lab)
    try:
        with pytest.raises(LabError, match="no latency: (?s:.*)Invalid argument"), delayed(lab, LATENCY_MS):
            pass
        assert links(lab) == before
    finally:
        lab.exec("lan", "ip", "link", "delete", "far-node2")
