"""Drives the measuring clients (tests/workloads/redis_client.cc, echo_client.cc) through their standard streams."""

import json
import select
import subprocess

from .paths import workload


class ClientError(Exception):
    """The client ended, did not answer, or answered that something was wrong."""


class MeasuringClient:
    """A running client. Every command waits for its one answer, a dictionary; `ok` in it is the verdict.

    The child is stopped (by its own process id) when the `with` block ends, whatever happened.
    """

    def __init__(self, argv, timeout_s=60):
        self._timeout_s = timeout_s
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         bufsize=0)  # a buffer would hide bytes from select
        self._pending = b""
        try:
            self._answer("ready")
        except ClientError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def command(self, line, timeout_s=None):
        """Sends LINE and returns the answer, good or bad."""
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError as error:
            raise ClientError(f"the client has ended before '{line}'") from error
        return self._answer(line.split()[0], timeout_s)

    def demand(self, line, timeout_s=None):
        """As command(), but a bad answer is a ClientError."""
        answer = self.command(line, timeout_s)
        if not answer["ok"]:
            why = answer.get("error") or "; ".join(answer.get("error_texts", [])) or json.dumps(answer)
            raise ClientError(f"client, at '{line}': {why}")
        return answer

    def mark(self, name):
        """Closes the window since the last mark; max_latency_ms is the client gap in it."""
        return self.demand(f"mark {name}")

    def stop(self):
        """The client's last checks, then its end; ClientError unless all went well from first to last."""
        self.demand("stop")
        self._process.stdin.close()
        if self._process.wait(self._timeout_s) != 0:
            raise ClientError(f"the client ended with status {self._process.returncode}")

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _answer(self, event, timeout_s=None):
        stdout = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            if not select.select([stdout], [], [], timeout_s or self._timeout_s)[0]:
                raise ClientError(f"no answer to '{event}' within {timeout_s or self._timeout_s} s")
            received = self._process.stdout.read(65536)
            if not received:
                raise ClientError(f"the client ended with status {self._process.wait()} at '{event}'")
            self._pending += received
        line, self._pending = self._pending.split(b"\n", 1)
        answer = json.loads(line)
        if answer["event"] != event:
            raise ClientError(f"answer to '{answer['event']}' where '{event}' was awaited")
        return answer


def _flags(**values):
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def redis_client(prefix, **flags):
    """PREFIX: what to put before the command, such as Lab.prefix("client"). Flags: redis_client.cc."""
    return MeasuringClient([*prefix, workload("redis_client"), *_flags(**flags)])


def echo_client(prefix, **flags):
    return MeasuringClient([*prefix, workload("echo_client"), *_flags(**flags)])
