"""Two containers with connections between them move, one after the other and at the same moment."""

import contextlib

import pytest

from tests.support.exhibits import start_zoo
from tests.support.migration import begin, migrate
from tests.support.socket_zoo import container_zoo, inet

LEFT, RIGHT = "10.99.2.62", "10.99.2.63"
PORT = 7100


class Pair:
    """Containers left and right, and two connections between them: one that both ends have filled, so that data is in
    flight and in every queue, and one for questions and answers."""

    def __init__(self, lab, stack, left, right):
        self.containers = left, right
        self._left, self._right = (stack.enter_context(container_zoo(lab, container)) for container in (left, right))
        listener = self._right.listener("0.0.0.0", PORT)
        self._full = self._left.connected(RIGHT, PORT), listener.accept()
        self._asking = self._left.connected(RIGHT, PORT), listener.accept()
        self._sent = [end.fill() for end in self._full]

    def assert_connected(self):
        here, there = self._asking
        for asker, answerer in ((here, there), (there, here)):
            asker.send(b"question")
            assert answerer.receive() == b"question"
            answerer.send(b"answer")
            assert asker.receive() == b"answer"

    def assert_complete(self):
        self.assert_connected()
        here, there = self._full
        assert there.missing(self._sent[0]) == 0
        assert here.missing(self._sent[1]) == 0
        new = self._left.connected(RIGHT, PORT)
        assert new.peer() == inet(RIGHT, PORT)


@pytest.fixture
def pair_on(lab, keep):
    """pair_on(node of the left one, node of the right one)"""
    with contextlib.ExitStack() as stack:
        def make(left_node, right_node):
            left = keep(start_zoo(lab, left_node, "left", LEFT, also=()))
            right = keep(start_zoo(lab, right_node, "right", RIGHT, also=()))
            return Pair(lab, stack, left, right)

        yield make


def move_both(lab, pair, left_target, right_target):
    """At the same moment; both must arrive."""
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(begin(lab, container, target))
                for container, target in zip(pair.containers, (left_target, right_target))]
        for result in [ongoing.result() for ongoing in both]:
            assert result.migrated, (result.why(), result.report.get("log"))


def move(lab, container, target):
    result = migrate(lab, container, target)
    assert result.migrated, (result.why(), result.report.get("log"))


def test_one_after_the_other_they_change_places(lab, pair_on):
    """The left one talks to one on its new host first, then to one on its old host."""
    pair = pair_on("node1", "node2")
    left, right = pair.containers
    move(lab, left, "node2")
    pair.assert_connected()
    move(lab, right, "node1")
    pair.assert_complete()


def test_at_the_same_moment_they_change_places(lab, pair_on):
    pair = pair_on("node1", "node2")
    for left_target, right_target in (("node2", "node1"), ("node1", "node2")):
        move_both(lab, pair, left_target, right_target)
        pair.assert_connected()
    pair.assert_complete()


def test_neighbours_leave_their_host_together(lab, pair_on):
    pair = pair_on("node1", "node1")
    for target in ("node2", "node1"):
        move_both(lab, pair, target, target)
        pair.assert_connected()
    pair.assert_complete()


def test_a_neighbour_is_left_behind_and_comes_after(lab, pair_on):
    pair = pair_on("node1", "node1")
    left, right = pair.containers
    move(lab, left, "node2")
    pair.assert_connected()
    move(lab, right, "node2")
    pair.assert_complete()
