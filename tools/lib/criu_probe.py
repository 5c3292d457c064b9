"""The inside of tools/criu-probe: process 1 of a PID namespace with its own network and tmpfs /run.

It keeps the client's end of a TCP connection while CRIU dumps, kills and restores the process at the other
end. That process answers each byte with the number of bytes it has seen, so an answer after the restore
proves both the connection and the memory.
"""

import os
import re
import socket
import subprocess
import sys

IMAGES = "/run/images"
# Any criu godwit uses must leave the network alone: godwit holds packets itself.
COMMON = ["--images-dir", IMAGES, "--tcp-established", "--network-lock", "skip", "-v2"]


UNFIT = 3  # any other failure (1 from an exception) says nothing about CRIU


def fail(reason):
    print(reason)
    sys.exit(UNFIT)


def start_server():
    """A process in a session of its own with one established connection; returns (pid, our end)."""
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        connection, _ = listener.accept()
        # Files inherited from whoever called, which CRIU may not be able to name, are none of the question.
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, 4096)
        seen = 0
        while connection.recv(1):
            seen += 1
            connection.sendall(bytes([seen]))
        os._exit(0)
    client = socket.create_connection(listener.getsockname(), timeout=5)
    listener.close()
    return pid, client


def expect_answer(client, count, when):
    client.sendall(b"x")
    answer = client.recv(1)
    if answer != bytes([count]):
        fail(f"the TCP connection answered {answer!r} {when}, not {bytes([count])!r}")


def run(criu, action, *options):
    log = f"{action}.log"
    command = [criu, action, "--log-file", log, *COMMON, *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    try:
        with open(f"{IMAGES}/{log}", errors="replace") as text:
            said += text.read()
    except FileNotFoundError:
        pass
    errors = [line.strip() for line in said.splitlines() if "Error" in line]
    # The first error is the cause, what follows is CRIU giving up. Its own trouble with limits is harmless.
    errors = [line for line in errors if "rlimit" not in line] or said.strip().splitlines()[-1:]
    cause = re.sub(r"^\([\d.]+\)\s*", "", errors[0]) if errors else f"status {done.returncode}"
    fail(f"{action} failed: {cause}")


def main():
    criu = sys.argv[1]
    os.mkdir(IMAGES)
    try:
        pid, client = start_server()
        expect_answer(client, 1, "before the dump")
        run(criu, "dump", "--tree", str(pid))
        os.waitpid(pid, 0)
        run(criu, "restore", "--restore-detached")
        expect_answer(client, 2, "after the restore")
    except OSError as error:
        fail(f"the TCP connection is lost: {error}")
    print(f"dumped and restored a process with an established TCP connection on kernel {os.uname().release}")


main()
