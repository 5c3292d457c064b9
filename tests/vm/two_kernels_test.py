"""Containers move between two machines with kernels of their own: Debian 12's (Linux 6.1) and Debian 13's (6.12).

    tools/test two-kernels      (as root, after `make test`; twenty minutes, so it is no part of `make test`)

Two guests of tools/vm with a link between them have one lab together. Nothing may be built meanwhile.
"""

import pathlib
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support import container as containers  # noqa: E402
from tests.support.paths import BUILD  # noqa: E402

LASTS_S = 1500


def machine(suite, share, number, *command):
    mine, other = (f"{share}/lan{each}" for each in (number, 3 - number))
    options = ["--suite", suite, "--cgroup", "2", "--memory", "2048", "--processors", "1", "--timeout", str(LASTS_S),
               "--share", share, "--lan", f"{mine},{other}"]
    return subprocess.Popen([ROOT / "tools/vm", *options, "--", *command], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace")


def test_containers_move_to_the_other_kernel_and_back():
    containers.workload_rootfs()  # both guests see it, and cannot make it for each other
    with tempfile.TemporaryDirectory(prefix="godwit-two-", dir="/var/tmp") as directory:
        share = pathlib.Path(directory)
        subprocess.run([BUILD / "bin/godwit", "pki", "ca", "--dir", share / "pki", "--days", "2"], check=True,
                       stdout=subprocess.DEVNULL)
        for suite in ("bookworm", "trixie"):
            subprocess.run([ROOT / "tools/vm", "--suite", suite, "--fetch"], check=True)
        first = machine("bookworm", share, 1, "env", f"GODWIT_SHARE={share}", "/usr/bin/python3", "-m", "pytest", "-ra", "-q",
                        "-s", "-p", "no:cacheprovider", "tests/vm/guest/two_machines_test.py")
        said = []

        def read_first():
            said.extend(follow(first))
            (share / "done").touch()  # whatever ended it: the second need not wait

        reading = threading.Thread(target=read_first)
        reading.start()
        # One after the other: their clocks are to differ.
        while not (share / "first").exists() and first.poll() is None:
            time.sleep(1)
        second = machine("trixie", share, 2, "/usr/bin/python3", "tests/vm/guest/second_machine.py", share)
        there = list(follow(second))
        if second.wait() != 0:
            (share / "failed").touch()
        reading.join()
        assert first.wait() == 0 and second.returncode == 0, "".join(said + there)[-4000:]


def follow(process):
    for line in process.stdout:
        print(line, end="", flush=True)
        yield line
