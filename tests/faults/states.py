"""What both hosts say of a container and its migrations."""

import json
import time


def copies(lab, name):
    """{node: runC's status} of the hosts that have the container."""
    found = {}
    for node in lab.nodes:
        for entry in json.loads(lab.exec(node, "runc", "list", "-f", "json").stdout) or []:
            if entry["id"] == name:
                found[node] = entry["status"]
    return found


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


def await_settled(lab, timeout_s=40):
    """Until no agent has an ongoing migration."""
    end = time.monotonic() + timeout_s
    while any(migration["ongoing"] for node in lab.nodes for migration in migrations(lab, node)):
        if time.monotonic() > end:
            raise TimeoutError(str({node: migrations(lab, node) for node in lab.nodes}))
        time.sleep(0.1)
