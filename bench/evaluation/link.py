"""The link between the lab's two hosts, as the conditions of a cell want it."""

import contextlib

from tests.support.latency import delayed


@contextlib.contextmanager
def conditioned(lab, conditions, has_netem):
    """The rate is of node2's uplink, in both directions; the latency of what each of the nodes sends."""
    rate, latency_ms = conditions["link"], conditions["latency_ms"]
    with contextlib.ExitStack() as stack:
        if latency_ms and has_netem:
            stack.enter_context(_netem(lab, rate, latency_ms))
        else:
            if latency_ms:
                stack.enter_context(delayed(lab, latency_ms))
            if rate != "unshaped":
                stack.callback(lab.link, "node2", "--rate", "off")
                lab.link("node2", "--rate", rate)
        yield


@contextlib.contextmanager
def _netem(lab, rate, latency_ms):
    try:
        for node in lab.nodes:
            lab.exec(node, "tc", "qdisc", "replace", "dev", "uplink", "root", "netem", "delay", f"{latency_ms}ms", "limit",
                     "100000", *([] if rate == "unshaped" else ["rate", rate]))
        yield
    finally:
        for node in lab.nodes:
            lab.link(node, "--rate", "off")
