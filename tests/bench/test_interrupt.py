"""An evaluation in the lab that is interrupted: nothing of it stays on the machine, and it goes on where it was."""

import pathlib
import signal
import subprocess
import time

import pytest

from bench.evaluation import results
from tests.support import leftovers, machine
from tests.support.paths import ROOT

STORAGES = [pathlib.Path("/dev/shm"), pathlib.Path("/var/tmp")]
EXPERIMENTS = """
[[experiment]]
name = "echo"
workload = "echo"
methods = ["runc-disk", "godwit-auto"]
repetitions = 2
warmups = 0
"""


def left_behind(before):
    """What the kernel still has to end has a moment to do so."""
    for _ in range(60):
        lines = leftovers.compare(before, machine.inventory())
        lines += [str(path) for storage in STORAGES for path in storage.glob("godwit-*")]
        if not lines:
            break
        time.sleep(0.05)
    return lines


def evaluate(tmp_path, *options):
    (tmp_path / "echo.toml").write_text(EXPERIMENTS)
    return [ROOT / "bench" / "evaluate", tmp_path / "echo.toml", "--output", tmp_path / "out", *options]


def test_interrupted_nothing_is_left_and_the_rest_is_measured_later(tmp_path):
    before = machine.inventory()
    with subprocess.Popen(evaluate(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "left, about" in line:
                process.send_signal(signal.SIGINT)
                break
        else:
            pytest.fail("it did not measure anything")
        rest = process.stderr.read()
    assert process.returncode not in (0, None) and "--resume` goes on" in rest, rest
    assert "Traceback" not in rest
    assert left_behind(before) == []
    first = results.read(tmp_path / "out" / "results.jsonl")[1]
    assert 1 <= len(first) < 4

    done = subprocess.run(evaluate(tmp_path, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sessions, samples = results.read(tmp_path / "out" / "results.jsonl")
    assert len(sessions) == 2 and samples[:len(first)] == first
    assert sorted((sample["method"], sample["number"]) for sample in samples) == [
        ("godwit-auto", 1), ("godwit-auto", 2), ("runc-disk", 1), ("runc-disk", 2)]
    assert {sample["outcome"] for sample in samples} == {"migrated"}
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert left_behind(before) == []
