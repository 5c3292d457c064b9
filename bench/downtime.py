"""Downtime and client gap: of a small container with godwit, and of Redis with godwit and the baseline in turn."""

import json
import statistics
import subprocess

from tests.support import client as clients
from tests.support import container as containers
from tests.support.lab import CLIENT
from tests.support.migration import migrate
from tests.support.paths import ROOT

BASELINE = ROOT / "bench" / "baseline" / "stop_and_copy"
REDIS_PACE_US = 2000


class BenchError(Exception):
    """A migration failed, or its client saw something wrong: there is no figure."""


def other_node(node):
    return {"node1": "node2", "node2": "node1"}[node]


def by_godwit(lab, container):
    """Moves the container to the other node; returns downtime_ms and what else is known."""
    result = migrate(lab, container, other_node(container.node))
    if not result.migrated:
        raise BenchError(f"godwit migrate: {result.why()}")
    return result.report


def by_baseline(lab, container, transfer=None):
    target = other_node(container.node)
    command = [str(BASELINE), container.name, "--from", container.node, "--to", target, "--bundle",
               str(container.bundle), "--address", f"{container.address}/{containers.SUBNET_BITS}"]
    result = subprocess.run(command + (["--transfer", transfer] if transfer else []), text=True,
                            stdin=subprocess.DEVNULL, capture_output=True)
    if result.returncode != 0:
        raise BenchError(f"stop_and_copy: {result.stderr.strip()}")
    container.node = target
    return json.loads(result.stdout)


def measure(lab, container, client, ways, progress):
    """Moves the container once by each of WAYS, (name, function), in their order; returns a list of results."""
    results = []
    for number, (name, way) in enumerate(ways, 1):
        client.mark("before")
        source = container.node
        report = way(lab, container)
        gap = client.mark("during")["max_latency_ms"]
        results.append({"way": name, "source": source, "downtime_ms": report["downtime_ms"],
                        "client_gap_ms": gap, "report": report})
        progress(f"{number}/{len(ways)} {name} {source} → {container.node}: "
                 f"downtime {report['downtime_ms']:.1f} ms, client gap {gap:.1f} ms")
    return results


def small(lab, moves, ways, progress):
    """A 16 MiB echo server, moved MOVES times by each of WAYS in turn."""
    container = containers.start_echo(lab, "node1", output=False)
    with clients.echo_client(lab.prefix(CLIENT), host=container.address) as client:
        results = measure(lab, container, client, abba(ways, moves), progress)
        client.stop()
    container.remove(lab)
    return results


def redis(lab, moves, mib, ways, progress):
    """A Redis with MIB MiB of data, moved MOVES times by each of WAYS in turn, its data compared at the end."""
    container = containers.start_redis(lab, "node1", output=False)
    flags = {"host": container.address, "pace_us": REDIS_PACE_US}
    with clients.redis_client(lab.prefix(CLIENT), **flags) as client:
        progress(f"loading {mib} MiB")
        digest = client.demand(f"fill {mib}")["digest"]
        results = measure(lab, container, client, abba(ways, moves), progress)
        client.demand("blpop")
        if client.demand("digest")["digest"] != digest:
            raise BenchError("the data set has changed")
        client.stop()
    container.remove(lab)
    return results


def abba(ways, moves):
    """[a, b, b, a, a, b, …]: each of WAYS MOVES times, in both directions between the nodes."""
    ordered = []
    for round_ in range(moves):
        ordered += ways if round_ % 2 == 0 else list(reversed(ways))
    return ordered


def summary(results, way):
    """Median, least and most of one way's downtime, client gap and their difference; None without results."""
    chosen = [result for result in results if result["way"] == way]
    if not chosen:
        return None
    series = {
        "downtime_ms": [result["downtime_ms"] for result in chosen],
        "client_gap_ms": [result["client_gap_ms"] for result in chosen],
        "gap_minus_downtime_ms": [result["client_gap_ms"] - result["downtime_ms"] for result in chosen],
    }
    return {"moves": len(chosen)} | {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in series.items()
    }
