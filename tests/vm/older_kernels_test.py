"""godwit on the kernels of Debian 12 (6.1: soft-dirty, no PAGEMAP_SCAN) and 13 (6.12: both), in emulated machines.

    tools/test vm        (as root, after `make test`; a quarter of an hour, so it is no part of `make test`)

Nothing may be built meanwhile: the guests run what is in build/default.
"""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from bench.evaluation import results  # noqa: E402

BIN = ROOT / "build/default/bin"
TRACKING = {"bookworm": "soft-dirty", "trixie": "uffd-wp"}
# Which state pages are in, tracking, rounds, the lens in a real criu. Others do not depend on the kernel that much.
UNITS = {
    "kernel_test": "*",
    "memory_test": "*WriteTracking*:FrameNotes*:UffdWp*:Rounds*:StillMemory*:SharedMemoryOfProcesses*:PageReader*",
    "runtime_test": "Lens*",
    "network_test": "BridgeVlans*",
}


def run(suite, *command, timeout_s):
    """In the guest; what it printed goes with a failure."""
    done = subprocess.run([ROOT / "tools/vm", "--suite", suite, "--timeout", str(timeout_s), "--", *command], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(done.stdout)
    assert done.returncode == 0, f"exit status {done.returncode}"
    return done.stdout


@pytest.mark.parametrize("suite", TRACKING)
@pytest.mark.parametrize("program", UNITS)
def test_units_pass(suite, program):
    run(suite, str(BIN / program), "--gtest_brief=1", f"--gtest_filter={UNITS[program]}", timeout_s=400)


@pytest.mark.parametrize("suite", TRACKING)
def test_containers_migrate(suite):
    run(suite, "env", f"GODWIT_TRACKING={TRACKING[suite]}", "/usr/bin/python3", "-m", "pytest", "-ra", "-q", "-s",
        "-p", "no:cacheprovider", "tests/vm/guest/migration_test.py", timeout_s=900)


def test_the_evaluation_runs_there_and_its_results_are_kept_here():
    """With CRIU's own pre-copy, which needs soft-dirty tracking."""
    output = ROOT / "build/evaluation/test-vm"
    output.mkdir(parents=True, exist_ok=True)
    (output / "one.toml").write_text('''[[experiment]]
name = "echo"
workload = "echo"
methods = ["runc-precopy", "godwit-hybrid"]
repetitions = 1
warmups = 0
parameters = { connections = 1 }
''')
    done = subprocess.run([ROOT / "bench/evaluate", output / "one.toml", "--vm", "bookworm", "--output", output], timeout=900)
    assert done.returncode == 0
    (session,), samples = results.read(output / "results.jsonl")
    assert session["machine"]["emulated"] and session["machine"]["kernel"].startswith("6.1.")
    assert [(sample["method"], sample["outcome"]) for sample in samples] == [
        ("runc-precopy", "migrated"), ("godwit-hybrid", "migrated")], samples
    assert "emulated machine with Linux 6.1" in (output / "report.html").read_text()


def test_status_and_output_come_back(tmp_path):
    script = "echo out; echo err >&2; uname -r; exit 7"
    done = subprocess.run([ROOT / "tools/vm", "--timeout", "120", "--", "sh", "-c", script], stdout=subprocess.PIPE,
                          text=True, cwd=tmp_path.parent)
    assert done.returncode == 7
    assert done.stdout.splitlines()[:2] == ["out", "err"] and done.stdout.splitlines()[2].startswith("6.1.")


def test_a_guest_that_does_not_end_is_ended():
    done = subprocess.run([ROOT / "tools/vm", "--timeout", "30", "--", "sleep", "infinity"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 125 and "not done within 30 s" in done.stderr
