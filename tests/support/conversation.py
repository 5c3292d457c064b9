"""Lines to and from a server in a container, over one connection that is never made again."""

import contextlib
import select
import subprocess
import sys

from .lab import CLIENT

_SCRIPT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
replies = connection.makefile()
for line in sys.stdin:
    connection.sendall(line.encode())
    reply = replies.readline()
    if not reply:
        break
    sys.stdout.write(reply)
    sys.stdout.flush()
"""


class Conversation:
    """with Conversation(lab, container.address, port) as server: server.ask("verify")"""

    def __init__(self, lab, address, port):
        self._process = lab.popen(CLIENT, sys.executable, "-c", _SCRIPT, address, str(port), text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # somebody was asking
            self._process.stdin.close()
        self._process.stdout.close()

    def ask(self, line, timeout_s=30):
        """The one line that answers; empty when the connection is gone."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise TimeoutError(f"no answer to '{line}' within {timeout_s} s")
        return self._process.stdout.readline().rstrip("\n")
