"""Connections that come and go: opened one after the other, used once and closed, by some threads at the client."""

import json
import subprocess
import sys

from .lab import CLIENT

_PROGRAM = """
import collections, json, socket, sys, threading, time

over, lock = threading.Event(), threading.Lock()
result = {"connections": 0, "longest_ms": 0, "errors": collections.Counter()}

def once():
    try:
        with socket.socket() as connection:
            # For those that want the port while it is in TIME-WAIT.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.settimeout(10)
            connection.connect((sys.argv[1], int(sys.argv[2])))
            connection.sendall(b"hello\\n")
            answer = b""
            while not answer.endswith(b"\\n"):
                received = connection.recv(100)
                if not received:
                    return "closed by the server"
                answer += received
            return "" if answer == b"1 hello\\n" else f"a wrong answer: {answer}"
    except OSError as error:
        return str(error)

def run():
    while not over.is_set():
        began = time.monotonic()
        error = once()
        took_ms = (time.monotonic() - began) * 1000
        with lock:
            result["connections"] += 1
            result["longest_ms"] = max(result["longest_ms"], took_ms)
            result["errors"].update([error] if error else [])

threads = [threading.Thread(target=run) for _ in range(int(sys.argv[3]))]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print(json.dumps(result))
"""


class Churn:
    """with Churn(lab, address, port, threads=2) as churn: …; churn.end() is {"connections": …, "errors": {text: count},
    "longest_ms": …}."""

    def __init__(self, lab, address, port, threads):
        self._process = lab.popen(CLIENT, sys.executable, "-c", _PROGRAM, address, str(port), str(threads), text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdout.readline()  # "ready"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def end(self):
        return json.loads(self._process.communicate("", timeout=30)[0])
