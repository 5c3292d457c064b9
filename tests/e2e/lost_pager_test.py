"""The target's agent dies while the container still misses memory: it is frozen before a missing page reads as zero."""

import json

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin


@pytest.fixture
def checker(lab):
    """A container of which both hosts keep a copy; what is left of them goes by hand, as an operator does it."""
    container = containers.start_checker(lab, "node1", "page_checker", bytes=128 << 20, threads=2, rate=20 << 20)
    yield container
    lab.agent("node1", "kill")  # it would keep the frozen copy for as long as it takes
    for node in lab.nodes:
        lab.exec(node, "runc", "delete", "--force", container.name, check=False)
        lab.exec(node, "ip", "netns", "delete", container.name, check=False)
        lab.agent(node, "start")


@pytest.mark.cleaned_within_s(20)  # the source's next agent asks the target's what became of it
def test_container_is_frozen_and_the_source_keeps_its_copy(lab, checker):
    with Checker(lab, checker) as memory:
        memory.assert_right()  # all of it is there
    with begin(lab, checker, "node2", mode="postcopy", options=["--bandwidth-max", "10MB/s"]) as ongoing:
        ongoing.await_phase("pages")
        lab.agent("node2", "kill")
        ongoing.await_phase("postcopy-paused", timeout_s=60)
        states = {node: containers_on(lab, node) for node in ("node1", "node2")}
    assert states["node2"].get(checker.name) == "paused", states
    assert checker.name in states["node1"], states


def containers_on(lab, node):
    return {entry["id"]: entry["status"]
            for entry in json.loads(lab.exec(node, "runc", "list", "-f", "json").stdout) or []}
