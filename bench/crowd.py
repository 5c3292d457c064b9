"""Many containers that leave one host at the same moment, each with a client at work."""

import contextlib
import time

from tests.support import client as clients
from tests.support import container as containers
from tests.support import table
from tests.support.lab import CLIENT
from tests.support.migration import begin

from .memory_common import BenchError, median, other_node

TITLE = "20 containers move at once from one host"
REPEAT = 2
CONTAINERS = 20


def run(lab, options):
    with contextlib.ExitStack() as stack:
        crowd = []
        for number in range(CONTAINERS):
            container = containers.start_echo(lab, "node1", name=f"echo{number}", address=f"10.99.2.{100 + number}",
                                              output=False)
            stack.callback(container.remove, lab)
            client = clients.echo_client(lab.prefix(CLIENT), host=container.address, pace_us=20_000)
            crowd.append((container, stack.enter_context(client)))
        moves = []
        for number in range(options.repeat):
            moves.append(moved(lab, crowd))
            options.say(f"{number + 1}/{options.repeat}: all {CONTAINERS} there after {moves[-1]['total_ms']:.0f} ms, "
                        f"downtime {median(moves[-1]['downtime_ms']):.1f} ms")
        for _, client in crowd:
            client.stop()
    return {"moves": moves}


def moved(lab, crowd):
    for _, client in crowd:
        client.mark("before")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        target = other_node(crowd[0][0].node)
        ongoing = [stack.enter_context(begin(lab, container, target)) for container, _ in crowd]
        results = [each.result() for each in ongoing]
    total_ms = (time.monotonic() - began) * 1000
    if failed := [result.why() for result in results if not result.migrated]:
        raise BenchError(f"{len(failed)} of {len(crowd)} did not arrive: {failed[0]}")
    return {"total_ms": total_ms, "downtime_ms": [result.report["downtime_ms"] for result in results],
            "gap_ms": [client.mark("during")["max_latency_ms"] for _, client in crowd]}


def show(result):
    rows = [[str(number + 1), table.ms(move["total_ms"]), table.ms(median(move["downtime_ms"])),
             table.ms(max(move["downtime_ms"])), table.ms(max(move["gap_ms"]))]
            for number, move in enumerate(result["moves"])]
    return table.render(rows, ["all at once", "until all are there", "downtime, median", "longest", "longest gap"])
