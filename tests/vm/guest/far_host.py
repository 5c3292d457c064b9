"""Commands for a node on another machine of the lab: it has no shell for us, and a guest of tools/vm has no ssh daemon.

    far_host.py serve ADDRESS            there
    far_host.py exec ADDRESS -- CMD…     here: prints what CMD prints there and exits with its status

The caller's end ends the command. One JSON list goes there; frames come back: one byte that says what it is (1 and 2:
output, 0: the status), four for the length, the rest.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import threading

PORT = 7499
HEADER = struct.Struct("!BI")


def serve(address):
    with socket.create_server((address, PORT)) as listening:
        print("ready", flush=True)
        while True:
            threading.Thread(target=serve_one, args=[listening.accept()[0]], daemon=True).start()


def serve_one(connection):
    sending = threading.Lock()

    def send(kind, payload):
        with sending:
            connection.sendall(HEADER.pack(kind, len(payload)) + payload)

    def pass_on(kind, stream):
        while part := stream.read1(65536):
            send(kind, part)

    with connection, connection.makefile("rb") as asked:
        try:
            process = subprocess.Popen(json.loads(asked.readline()), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
        except OSError as error:
            send(2, f"{error}\n".encode())
            return send(0, b"127")
        readers = [threading.Thread(target=pass_on, args=what) for what in ((1, process.stdout), (2, process.stderr))]
        for reader in readers:
            reader.start()
        ended = threading.Thread(target=process.wait)
        ended.start()
        while ended.is_alive():  # the connection becomes readable only by the caller's end
            if select.select([connection], [], [], 0.1)[0]:
                process.kill()
                break
        ended.join()
        for reader in readers:
            reader.join()
        send(0, str(process.returncode).encode())


def execute(address, command):
    with socket.create_connection((address, PORT)) as connection, connection.makefile("rb") as frames:
        connection.sendall(json.dumps(command).encode() + b"\n")
        while header := frames.read(HEADER.size):
            kind, size = HEADER.unpack(header)
            payload = frames.read(size)
            if kind == 0:
                return int(payload) % 256
            stream = sys.stdout.buffer if kind == 1 else sys.stderr.buffer
            stream.write(payload)
            stream.flush()
    print(f"{address}: the connection was lost", file=sys.stderr)
    return 255


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(execute(sys.argv[2], sys.argv[4:]))
