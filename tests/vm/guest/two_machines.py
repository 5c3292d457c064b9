"""A lab on two machines, each with a kernel of its own: node1 and the client are here, node2 is there. What the two
tell each other besides goes by files in a directory that both see."""

import contextlib
import pathlib
import sys
import time

from tests.support.lab import CLIENT, Lab, LabError

FAR_HOST = pathlib.Path(__file__).with_name("far_host.py")
ADDRESS = "10.99.1.2"  # node2's
BOOTS_WITHIN_S = 400


def part_of_lab(share, number):
    return ["--only", str(number), "--trunk", "eth0", "--authority", str(share / "pki")]


class LabOfTwoMachines(Lab):
    @classmethod
    @contextlib.contextmanager
    def up(cls, share):
        try:
            with super().up(hosts=2, options=part_of_lab(share, 1)) as lab:
                (share / "first").touch()
                end = time.monotonic() + BOOTS_WITHIN_S
                while not (share / "second").exists():
                    if time.monotonic() > end or (share / "failed").exists():
                        raise LabError("the second machine is not there")
                    time.sleep(1)
                lab.kernels = {"node1": lab.exec("node1", "uname", "-r").stdout.strip(),
                               "node2": (share / "second").read_text().strip()}
                yield lab
        finally:
            (share / "done").touch()

    @classmethod
    def prefix(cls, host):
        if host != "node2":
            return super().prefix(host)
        return [*super().prefix(CLIENT), sys.executable, str(FAR_HOST), "exec", ADDRESS, "--"]

    def agent_log(self, node):
        return super().agent_log(node) if node == "node1" else "(the second machine prints it at its end)"
