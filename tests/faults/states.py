"""What the hosts say of a container and its migrations."""

import json
import time

from tests.support.checker import Checker


def copies(lab, name):
    """{node: runC's status} of the hosts that have the container."""
    found = {}
    for node in lab.nodes:
        for entry in json.loads(lab.exec(node, "runc", "list", "-f", "json").stdout) or []:
            if entry["id"] == name:
                found[node] = entry["status"]
    return found


def whereabouts(lab, name):
    """The one host that has the container, running; "ended" if none has it, or only its remains. An error otherwise."""
    found = {node: status for node, status in copies(lab, name).items() if status != "stopped"}
    assert not found or list(found.values()) == ["running"], found
    return next(iter(found), "ended")


def await_copies(lab, name, timeout_s=30, **wanted):
    """Until the hosts that are named have the container in that status."""
    end = time.monotonic() + timeout_s
    while not wanted.items() <= copies(lab, name).items():
        if time.monotonic() > end:
            raise TimeoutError(f"{copies(lab, name)}, not {wanted}")
        time.sleep(0.05)


def assert_hears_itself(lab, container):
    """Its loopback is mute only while it is dumped."""
    namespace = f"/run/netns/{container.name}"
    found = lab.exec(container.node, "nsenter", f"--net={namespace}", "tc", "qdisc", "show", "dev", "lo").stdout
    assert "noqueue" in found, found


def migrations(lab, node):
    return json.loads(lab.exec(node, "godwit", "status", "--json").stdout)["migrations"]


def await_migration(lab, node, phase, timeout_s=30):
    """The ongoing migration there, as soon as it is in the phase."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for migration in migrations(lab, node):
            if migration["ongoing"] and migration["phase"] == phase:
                return migration
        time.sleep(0.1)
    raise TimeoutError(f"no migration in {phase} on {node}: {migrations(lab, node)}")


def await_settled(lab, or_frozen=False, timeout_s=90):
    """Until no agent has an ongoing migration. True: OR_FROZEN, and the source waits for memory's target in vain."""
    end = time.monotonic() + timeout_s
    while ongoing := {node: entry for node in lab.nodes for entry in migrations(lab, node) if entry["ongoing"]}:
        if or_frozen and ongoing.get("node1", {}).get("phase") == "postcopy-paused":
            return True
        if time.monotonic() > end:
            raise TimeoutError(str(ongoing))
        time.sleep(0.1)
    return False


def assert_frozen_until_resolved(lab, container):
    """The copy on node1 stands still and has what the one on node2 lacks. An operator takes that one away and lets the
    first go on; what the container did on node2, its connections among it, is lost."""
    migration = await_migration(lab, "node1", "postcopy-paused")
    found = copies(lab, container.name)
    assert found.get("node1") == "paused" and "node2" in found, found
    assert "postcopy-paused" in lab.exec("node1", "godwit", "ps").stdout
    if found["node2"] != "paused":  # its agent lives, and waits for the source's
        lab.agent("node2", "kill")
        lab.agent("node2", "start")
    await_migration(lab, "node2", "memory-missing")
    lab.exec("node2", "godwit", "resolve", migration["id"], "--source", "--yes")
    await_settled(lab)
    assert whereabouts(lab, container.name) == "node1"
    with Checker(lab, container) as memory:
        memory.assert_right()
