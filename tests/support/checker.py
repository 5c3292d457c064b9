"""The verdicts and figures of the workloads that check themselves: page_checker, map_storm, shm_checker, stream_like."""

import json

from .container import CHECKER_PORT
from .conversation import Conversation


def own_now_s(stats):
    """When the program said STATS, by its own clock, which stands still while CRIU has it."""
    return (stats["from_ms"] + stats["window_ms"]) / 1000


ANSWERS_WITHIN_S = 90  # it may wait for a page of a host whose agent is stopped for a minute (tests/faults)


class Checker:
    """with Checker(lab, container) as checker: …; one connection, which moves with the container."""

    def __init__(self, lab, container, port=CHECKER_PORT):
        self._conversation = Conversation(lab, container.address, port)

    def __enter__(self):
        return self

    def __exit__(self, *how):
        self._conversation.__exit__(*how)

    def ask(self, line, timeout_s=ANSWERS_WITHIN_S):
        answer = self._conversation.ask(line, timeout_s)
        assert answer, f"the connection was gone at '{line}'"
        return json.loads(answer)

    def raw(self, line, timeout_s=ANSWERS_WITHIN_S):
        """The answer as it is; empty if the connection is gone."""
        return self._conversation.ask(line, timeout_s)

    def assert_right(self):
        """All memory holds what was written last; returns the verdict."""
        verdict = self.ask("verify")
        assert verdict["ok"], verdict
        return verdict

    def stats(self):
        """What it did since the last time: timeline.h."""
        return self.ask("stats")
