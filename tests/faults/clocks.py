"""Agents whose wall clocks a test can have jump, each its own."""

import os
import shutil
import struct

from tests.support.paths import BUILD, workload

DIRECTORY = BUILD / "clocks"


def put_up():
    """The agents that are started from now on have such a clock."""
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    (DIRECTORY / "bin").mkdir(parents=True)
    (DIRECTORY / "bin" / "godwit").symlink_to(BUILD / "bin" / "godwit")
    agent = DIRECTORY / "bin" / "godwitd"
    agent.write_text(
        "#!/bin/sh\n"
        "node=$(sed -n 's/^node = \"\\(.*\\)\"$/\\1/p' /etc/godwit/godwit.toml)\n"
        f'[ -e "{DIRECTORY}/$node" ] || head -c 8 /dev/zero >"{DIRECTORY}/$node"\n'
        f'GODWIT_TEST_CLOCK="{DIRECTORY}/$node" LD_PRELOAD="{workload("jumping_clock.so")}" '
        f'exec {BUILD}/bin/godwitd "$@"\n')
    agent.chmod(0o755)
    os.environ["LAB_BIN"] = str(DIRECTORY / "bin")


def set_off(node, seconds):
    """The host's agent has a clock that is so much ahead from now on."""
    with open(DIRECTORY / node, "r+b") as file:
        file.write(struct.pack("=q", seconds))
