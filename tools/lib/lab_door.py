"""Of a lab on several machines, a machine's door: the others have no shell there, and a guest of tools/vm has no ssh daemon.

    lab_door.py serve ADDRESS            there, in a network namespace that has the address
    lab_door.py call ADDRESS CMD…        here: prints what CMD prints there and exits with its status
    lab_door.py align ADDRESS            sets the clock there as the one here, to within half of the shortest way and back

CMD runs as root on the machine, in the caller's directory if it is there; the caller's end ends it. The door is open to
whoever reaches the address, which only the lab's own namespaces do.

A request is one line, a JSON object. The answers to a command are frames: a byte that says what it is (1 and 2: output,
0: the status), four for the length, the rest. To {"add_to_clock": seconds} the answer is the time there, a line; such a
connection may ask again.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

PORT = 7499
HEADER = struct.Struct("!BI")
OUTPUT, ERRORS, STATUS = 1, 2, 0
QUESTIONS = 10  # about the time; the quickest answer counts


def serve(address):
    with socket.create_server((address, PORT)) as listening:
        print("ready", flush=True)
        while True:
            threading.Thread(target=serve_one, args=[listening.accept()[0]], daemon=True).start()


def serve_one(connection):
    with connection, connection.makefile("rb") as asked:
        while line := asked.readline():
            request = json.loads(line)
            if "add_to_clock" not in request:
                return run(connection, request)
            if request["add_to_clock"]:
                time.clock_settime(time.CLOCK_REALTIME, time.time() + request["add_to_clock"])
            connection.sendall(b"%.6f\n" % time.time())


def run(connection, request):
    sending = threading.Lock()

    def send(kind, payload):
        with sending:
            connection.sendall(HEADER.pack(kind, len(payload)) + payload)

    def pass_on(kind, stream):
        while part := stream.read1(65536):
            send(kind, part)

    directory = request["directory"] if os.path.isdir(request["directory"]) else "/"
    try:
        process = subprocess.Popen(request["command"], cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
    except OSError as error:
        send(ERRORS, f"{error}\n".encode())
        return send(STATUS, b"127")
    readers = [threading.Thread(target=pass_on, args=what)
               for what in ((OUTPUT, process.stdout), (ERRORS, process.stderr))]
    ended = threading.Thread(target=process.wait)
    for thread in (*readers, ended):
        thread.start()
    while ended.is_alive():  # the connection becomes readable only by the caller's end
        if select.select([connection], [], [], 0.05)[0]:
            process.kill()
            break
    ended.join()
    for reader in readers:
        reader.join()
    send(STATUS, str(process.returncode).encode())


def call(address, command):
    with socket.create_connection((address, PORT)) as connection, connection.makefile("rb") as frames:
        connection.sendall(json.dumps({"directory": os.getcwd(), "command": command}).encode() + b"\n")
        while header := frames.read(HEADER.size):
            kind, size = HEADER.unpack(header)
            payload = frames.read(size)
            if kind == STATUS:
                return int(payload) % 256
            stream = sys.stdout.buffer if kind == OUTPUT else sys.stderr.buffer
            stream.write(payload)
            stream.flush()
    print(f"lab_door: {address}: the connection was lost", file=sys.stderr)
    return 255


def align(address):
    with socket.create_connection((address, PORT)) as connection, connection.makefile("rb") as answers:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask(add):
            began = time.time()
            connection.sendall(json.dumps({"add_to_clock": add}).encode() + b"\n")
            there = float(answers.readline())
            ended = time.time()
            return ended - began, (began + ended) / 2 - there

        took, behind = min(ask(0) for _ in range(QUESTIONS))
        ask(behind)
    print(f"it was {behind * 1000:.1f} ms behind, to within {took * 500:.1f} ms")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif sys.argv[1] == "align":
        sys.exit(align(sys.argv[2]))
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
