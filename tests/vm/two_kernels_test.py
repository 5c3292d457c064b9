"""Containers move between two machines with kernels of their own: Debian 12's (Linux 6.1) and Debian 13's (6.12).

    tools/test two-kernels      (as root, after `make test`; twenty minutes, so it is no part of `make test`)

Nothing may be built meanwhile: the guests run what is in build/default.
"""

import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support import container as containers  # noqa: E402
from tests.support import machine_pair  # noqa: E402

LASTS_S = 1800


def test_containers_move_to_the_other_kernel_and_back():
    containers.workload_rootfs()  # both guests see it, and cannot make it for each other
    said = []

    def show(text):
        print(text, end="", flush=True)
        said.append(text)

    command = ["/usr/bin/python3", "-m", "pytest", "-ra", "-q", "-s", "-p", "no:cacheprovider",
               "tests/vm/guest/two_machines_test.py"]
    with tempfile.TemporaryDirectory(prefix="godwit-two-", dir="/var/tmp") as name:
        share = pathlib.Path(name)
        status = machine_pair.run(["bookworm", "trixie"], share, share, command, LASTS_S, show)
    assert status == 0, "".join(said)[-4000:]
