"""A hold that is too small for what comes: the oldest packets are dropped and counted, and nothing worse happens."""

import sys

from tests.support import container as containers
from tests.support.agent_setup import configured
from tests.support.conversation import Conversation
from tests.support.lab import CLIENT
from tests.support.migration import migrate

# Datagrams without a pause, to a port on which nobody listens, until killed.
FLOOD = """
import socket, sys
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        flood.sendto(b"x" * 1000, (sys.argv[1], 9))
    except ConnectionRefusedError:
        pass
"""


def flooded(lab, container, bound):
    """One migration during which datagrams come to the container, with this bound of the hold."""
    with configured(lab, "node1", ("[network]", f"[network]\n{bound}")):
        with lab.popen(CLIENT, sys.executable, "-c", FLOOD, container.address) as flood:
            try:
                return migrate(lab, container, "node2")
            finally:
                flood.kill()


def test_past_the_bound_of_packets_the_oldest_are_dropped(lab, echo):
    with Conversation(lab, echo.address, containers.ECHO_PORT) as idle:
        assert idle.ask("one") == "1 one"
        migration = flooded(lab, echo, "hold_packets_max = 20")
        assert migration.migrated, migration.why()
        figures = migration.report["figures"]
        assert figures["frames_dropped"] > 0
        assert figures["frames_held"] > 20
        assert any("network.hold_packets_max on node1 is too small" in note for note in migration.report["notes"])
        assert idle.ask("two") == "2 two"


def test_past_the_bound_of_bytes_the_oldest_are_dropped(lab, echo):
    migration = flooded(lab, echo, "hold_bytes_max = 20000")
    assert migration.migrated, migration.why()
    assert migration.report["figures"]["frames_dropped"] > 0


def test_without_a_hold_the_connection_goes_on_all_the_same(lab, echo, client):
    with configured(lab, "node1", ("[network]", "[network]\nhold_packets_max = 0")):
        client.mark("before")
        migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()
    assert client.mark("during")["requests"] > 0
