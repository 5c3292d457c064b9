"""Two containers with connections between them."""

import contextlib

from .exhibits import start_zoo
from .migration import begin, migrate
from .socket_zoo import container_zoo, inet

LEFT, RIGHT = "10.99.2.62", "10.99.2.63"
PORT = 7100


class Pair:
    """Containers left and right, and two connections between them: one that both ends have filled, so that data is in
    flight and in every queue, and one for questions and answers."""

    def __init__(self, lab, keep, stack, left_node, right_node):
        left = keep(start_zoo(lab, left_node, "left", LEFT, also=()))
        right = keep(start_zoo(lab, right_node, "right", RIGHT, also=()))
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
