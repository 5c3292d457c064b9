"""The same container moved by godwit, by stop-and-copy over tmpfs, and by CRIU's own post-copy, in turn. A way that fails
is told of with its reason and has no figures; the container is then started anew."""

import json
import subprocess

from tests.support import container as containers
from tests.support import table
from tests.support.checker import Checker
from tests.support.paths import ROOT

from .memory_common import GIB, MIB, assert_right, median, move, other_node

TITLE = "1 GiB, written at 20 MB/s: godwit and two scripts of runC and CRIU"
SIZE = GIB
RATE = 20_000_000
SCRIPTS = ["stop_and_copy", "criu_postcopy"]
SCRIPT_S = 120


def run(lab, options):
    results = {way: {"downtimes_ms": [], "stalls_ms": [], "failed": None} for way in ["godwit", *SCRIPTS]}
    container = start(lab)
    for number in range(1, options.repeat + 1):
        for way, result in results.items():
            if result["failed"]:
                continue
            try:
                one_move(lab, options, container, way, result)
            except (ScriptError, subprocess.TimeoutExpired) as failure:
                result["failed"] = str(failure)
                options.say(f"{way} failed: {failure}")
                remove_everywhere(lab, container)
                container = start(lab)
                continue
            options.say(f"{number}/{options.repeat} {way}: downtime {result['downtimes_ms'][-1]:.1f} ms")
    remove_everywhere(lab, container)
    return results


class ScriptError(Exception):
    """It said why."""


def start(lab):
    command = ["/bin/page_checker", "--port", str(containers.CHECKER_PORT), "--bytes", str(SIZE), "--rate", str(RATE),
               "--check", "0"]
    container = containers.start(lab, "node1", "compared", "10.99.2.70", command, output=False,
                                 rootfs=containers.workload_rootfs())
    lab.exec("client", "ip", "neighbour", "flush", "all")
    lab.await_port(container.address, containers.CHECKER_PORT)
    return container


def one_move(lab, options, container, way, result):
    with Checker(lab, container) as checker:
        checker.stats()
        if way == "godwit":
            downtime_ms = move(lab, container, options.mode).report["downtime_ms"]
        else:
            downtime_ms = by_script(container, way)
        result["stalls_ms"].append(checker.stats()["longest_stall_us"] / 1000)
        assert_right(checker)
    result["downtimes_ms"].append(downtime_ms)


def by_script(container, script):
    target = other_node(container.node)
    command = [str(ROOT / "bench" / "baseline" / script), container.name, "--from", container.node, "--to", target,
               "--bundle", str(container.bundle), "--address", f"{container.address}/{containers.SUBNET_BITS}"]
    done = subprocess.run(command, text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=SCRIPT_S)
    if done.returncode != 0:
        raise ScriptError(done.stderr.strip()[-1000:])
    container.node = target
    return json.loads(done.stdout)["downtime_ms"]


def remove_everywhere(lab, container):
    for node in lab.nodes:
        lab.exec(node, "runc", "delete", "--force", container.name, check=False)
        lab.exec(node, "ip", "netns", "delete", container.name, check=False)


def show(results):
    rows = []
    ours = results["godwit"]["downtimes_ms"]
    for way, result in results.items():
        if result["downtimes_ms"]:
            downtime = median(result["downtimes_ms"])
            rows.append([way, table.ms(downtime), table.ms(median(result["stalls_ms"])),
                         f"{downtime / median(ours):.1f}" if ours else "–"])
        if result["failed"]:
            rows.append([f"{way}: failed", result["failed"].splitlines()[-1][:60]])
    return table.render(rows, [f"{SIZE // MIB} MiB", "downtime", "the program stood still", "÷ godwit"])
