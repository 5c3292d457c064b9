"""lab_await_agents.py (NODE PID SOCKET)…: waits until each agent accepts a connection on its unix socket.

Prints "NODE: reason" and exits 1 for the first that has died or has not answered within 10 s.
"""

import socket
import sys
import time

deadline = time.monotonic() + 10
arguments = iter(sys.argv[1:])


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


for node, pid, path in zip(arguments, arguments, arguments):
    while True:
        was_alive = alive(pid)
        try:
            # sun_path has 108 bytes and /proc/PID/root/… fits; connect() follows it into the node's /run.
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
            if was_alive:
                break
        except OSError:
            pass
        if not was_alive or time.monotonic() > deadline:
            print(f"{node}: {'does not answer on its socket' if was_alive else 'has ended'}")
            sys.exit(1)
        time.sleep(0.01)
