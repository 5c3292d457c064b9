"""Containers that number what they print (tests/workloads/line_printer.cc), and what must have come out of them."""

import os
import re

from . import container as containers
from . import processes

COMMAND = ["/bin/line_printer", "--interval-us", "500"]


def prepare(lab, name, address, *arguments, options=()):
    return containers.prepare(lab, "node1", name, address, [*COMMAND, *arguments],
                              rootfs=containers.workload_rootfs(), options=options)


def run_redirected(lab, container, redirections):
    """`runc run -d` from a shell on its node, with REDIRECTIONS such as ">/run/out.log 2>&1"."""
    lab.exec(container.node, "sh", "-c",
             f"exec runc run -d --bundle {container.bundle} {container.name} {redirections}")


def end(lab, container):
    """SIGTERM, its last words, its end, and that of the keepers of its streams."""
    keepers = [os.pidfd_open(pid) for pid in processes.find(container.node, "stream_keeper")]
    init = os.pidfd_open(container.state(lab)["pid"])
    lab.exec(container.node, "runc", "kill", container.name, "TERM")
    for pidfd in (init, *keepers):
        processes.await_end(pidfd)
        os.close(pidfd)


def assert_whole(text, *labels):
    """TEXT is all that was printed under the LABELS (out, err) from first to last, in order, once."""
    lines = text.splitlines()
    count = int(lines[-1].removeprefix("end "))
    expected = [f"{label} {number}" for number in range(1, count + 1) for label in labels]
    expected += [f"end {count}"] * len(labels)
    first_wrong = next((i for i, pair in enumerate(zip(lines, expected)) if pair[0] != pair[1]), None)
    assert first_wrong is None, f"line {first_wrong}: {lines[first_wrong - 2:first_wrong + 3]}"
    assert len(lines) == len(expected)


def logs_named(migration):
    """{stream: path of the log on the target}, from the report's notes."""
    notes = "\n".join(migration.report["notes"])
    return dict(re.findall(r"(\w+)(?:'s output)? goes on in (\S+)", notes))


def read(lab, node, path):
    return lab.exec(node, "cat", str(path)).stdout
