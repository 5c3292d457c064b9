"""tools/lib/lab_door.py: a command there is as a command here, and the time there can be told and set."""

import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import time

import pytest

DOOR = pathlib.Path(__file__).resolve().parents[2] / "tools/lib/lab_door.py"
ADDRESS = "127.0.0.79"  # its port is always the same: no other test uses this address


@pytest.fixture(scope="module", autouse=True)
def door():
    with subprocess.Popen([sys.executable, DOOR, "serve", ADDRESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield
        process.kill()


def call(*command, **options):
    return subprocess.run([sys.executable, DOOR, "call", ADDRESS, *command], capture_output=True, text=True, **options)


def test_output_errors_and_status_come_back(tmp_path):
    done = call("sh", "-c", 'pwd; echo "$1" >&2; exit 7', "sh", "two words", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{tmp_path}\n", "two words\n")


def test_output_of_any_size_comes_whole():
    done = call("head", "-c", "3000000", "/dev/zero")
    assert done.returncode == 0 and len(done.stdout) == 3000000


def test_a_command_that_is_not_there_is_an_error():
    done = call("/no/such/command")
    assert done.returncode == 127 and "/no/such/command" in done.stderr


def test_a_command_ends_with_its_caller():
    with subprocess.Popen([sys.executable, DOOR, "call", ADDRESS, "sh", "-c", "echo $$; exec sleep 1000"],
                          stdout=subprocess.PIPE, text=True) as caller:
        command = int(caller.stdout.readline())
        caller.kill()
    try:
        descriptor = os.pidfd_open(command)
    except ProcessLookupError:
        return
    assert select.select([descriptor], [], [], 10)[0], "it goes on"
    os.close(descriptor)


def test_the_time_is_told_more_than_once_on_a_connection():
    with socket.create_connection((ADDRESS, 7499)) as connection, connection.makefile("rb") as answers:
        for _ in range(2):
            connection.sendall(json.dumps({"add_to_clock": 0}).encode() + b"\n")
            assert abs(float(answers.readline()) - time.time()) < 5
