"""What a migration left behind on a host: its inventory before and after, compared."""

import collections
import json
import pathlib
import sys
import time

INVENTORY = str(pathlib.Path(__file__).with_name("host_inventory.py"))


def snapshot(lab, node):
    return json.loads(lab.exec(node, sys.executable, INVENTORY).stdout)


def compare(before, after):
    """Lines such as "link gw1234 appeared" and "cgroup … is gone"; empty if nothing differs."""
    lines = []
    for kind in before:
        had, has = collections.Counter(before[kind]), collections.Counter(after[kind])
        lines += [f"{kind} {item} appeared" for item in (has - had).elements()]
        lines += [f"{kind} {item} is gone" for item in (had - has).elements()]
    return lines


def since(lab, node, before, settle_s=1.0, look=lambda inventory: inventory):
    """compare() with now, where LOOK picks what counts. The kernel ends namespaces and cgroups after their last user
    is gone, so differences count once they have lasted for settle_s."""
    end = time.monotonic() + settle_s
    while True:
        lines = compare(before, look(snapshot(lab, node)))
        if not lines or time.monotonic() > end:
            return lines
        time.sleep(0.05)
