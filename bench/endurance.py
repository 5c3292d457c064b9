"""Many moves of one container back and forth, a client at work: errors, and what has grown on the hosts and in the
kernel. The modes take turns."""

import itertools
import pathlib
import re

from tests.support import agent_setup
from tests.support import client as clients
from tests.support import container as containers
from tests.support import leftovers, table
from tests.support.lab import CLIENT
from tests.support.migration import migrate

from .memory_common import median, other_node, quantile

TITLE = "many moves of one container: errors, growth of the agents and of the kernel"
REPEAT = 500
MODES = ["auto", "hybrid", "precopy", "postcopy"]
# Caches are filled and pools have their size by then.
WARM_UP = 40


def run(lab, options):
    # An agent that says what its heap holds before each migration.
    with agent_setup.configured_everywhere(lab, ("[agent]\n", '[agent]\nlog_level = "debug"\n')):
        return _moves(lab, options)


def _moves(lab, options):
    container = containers.start_echo(lab, "node1", output=False)
    downtimes, errors = [], []
    with clients.echo_client(lab.prefix(CLIENT), host=container.address) as client:
        before = None
        for number, mode in zip(range(options.repeat), itertools.cycle(MODES)):
            if number == min(WARM_UP, options.repeat // 2):
                before = _look(lab)
            result = migrate(lab, container, other_node(container.node), mode=mode)
            if result.migrated:
                downtimes.append(result.report["downtime_ms"])
            else:
                errors.append(f"move {number + 1}, {mode}: {result.why()}")
            if (number + 1) % 20 == 0 or errors:
                options.say(f"{number + 1}/{options.repeat}, {len(errors)} errors: {_summary(_look(lab))}")
            if len(errors) > 10:
                break
        if container.node != "node1":  # where it was when `before` was taken, whatever the numbers
            migrate(lab, container, "node1")
        after = _look(lab)
        gap = client.mark("all")["max_latency_ms"]
        client.stop()  # says what its requests got
    container.remove(lab)
    return {"moves": len(downtimes) + len(errors), "errors": errors, "downtime_ms": downtimes, "longest_gap_ms": gap,
            "before": before, "after": after}


def _look(lab):
    return {node: _agent(lab, node) | _counts(leftovers.snapshot(lab, node)) for node in lab.nodes} | {
        "kernel": _kernel()}


def _counts(inventory):
    return {f"{kind}, number": len(items) for kind, items in inventory.items()}


def _agent(lab, node):
    process = pathlib.Path(f"/proc/{lab.agent_pid(node)}")
    status = dict(line.split(":\t") for line in (process / "status").read_text().splitlines() if ":\t" in line)
    # Before its last migration, when nothing else was under way.
    in_use = re.findall(r"heap: (\d+) bytes in use", lab.agent_log(node))[-1]
    return {"memory_kib": int(status["RssAnon"].split()[0]), "heap_in_use_bytes": int(in_use),
            "threads": int(status["Threads"]), "descriptors": len(list((process / "fd").iterdir()))}


def _kernel():
    meminfo = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    groups = [line.split() for line in pathlib.Path("/proc/cgroups").read_text().splitlines()[1:]]
    return {"slab_kib": int(meminfo["SUnreclaim"].split()[0]),
            "network_namespaces": _slab_objects("net_namespace"), "cgroups": sum(int(group[2]) for group in groups)}


def _slab_objects(name):
    for line in pathlib.Path("/proc/slabinfo").read_text().splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    return 0


def _summary(look):
    nodes = [f"{node} {each['memory_kib']} KiB, {each['heap_in_use_bytes']} bytes of heap, "
             f"{each['descriptors']} descriptors, {each['threads']} threads" for node, each in look.items() if node != "kernel"]
    return "; ".join(nodes)


def show(result):
    rows = []
    for place, before in result["before"].items():
        after = result["after"][place]
        rows += [[f"{place}: {what.replace('_', ' ')}", str(before[what]), str(after[what])]
                 for what in before]
    text = table.render(rows, ["", f"after {WARM_UP} moves", f"after {result['moves']}"])
    text += (f"\n  {result['moves']} moves, {len(result['errors'])} errors; downtime median "
             f"{table.ms(median(result['downtime_ms']))}, p99 {table.ms(quantile(result['downtime_ms'], 0.99))}, longest "
             f"client gap {table.ms(result['longest_gap_ms'])}\n")
    return text + "".join(f"  {line}\n" for line in result["errors"])
