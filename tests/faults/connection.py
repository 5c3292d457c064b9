"""A client whose connection is in use, without a pause, while everything around it fails."""

import threading

from tests.support.checker import Checker


class OpenConnection:
    """Asks the container all the time, and remembers what went wrong: an answer that is missing or odd, a connection
    that broke. It is never made again."""

    def __init__(self, lab, container):
        self._checker = Checker(lab, container)
        self._turn = threading.Lock()
        self._left = threading.Event()
        self._error = None
        self.answers = 0
        self._asker = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self):
        self._checker.__enter__()
        self._asker.start()
        return self

    def __exit__(self, *how):
        self._left.set()
        self._checker.__exit__(*how)
        self._asker.join()

    def assert_right(self):
        """Nothing has gone wrong until now, the container still answers, and its memory is right."""
        with self._turn:
            assert self._error is None, f"the connection after {self.answers} answers: {self._error}"
            return self._checker.assert_right()

    def say_exit(self):
        """The container ends, which is no answer."""
        self._left.set()
        with self._turn:
            answer = self._checker.raw("exit")
        assert answer == "", answer

    def _ask(self):
        while self._error is None and not self._left.wait(0.02):
            with self._turn:
                if self._left.is_set():
                    return
                try:
                    self._checker.stats()
                    self.answers += 1
                except Exception as error:  # whatever it is, the client saw it
                    self._error = error
