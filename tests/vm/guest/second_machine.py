"""The second machine of two_machines_test.py: node2 of the lab, until the first says in SHARE that it is done.

    second_machine.py SHARE
"""

import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))
from tests.support.lab import Lab  # noqa: E402
from tests.vm.guest.two_machines import ADDRESS, FAR_HOST, part_of_lab  # noqa: E402


def main():
    share = pathlib.Path(sys.argv[1])
    with Lab.up(hosts=2, options=part_of_lab(share, 2)) as lab:
        with lab.popen("node2", sys.executable, str(FAR_HOST), "serve", ADDRESS, stdout=subprocess.PIPE) as far_host:
            far_host.stdout.readline()
            (share / "second").write_text(lab.exec("node2", "uname", "-r").stdout)
            while not (share / "done").exists():
                time.sleep(1)
            far_host.kill()
        print(lab.agent_log("node2"))


if __name__ == "__main__":
    main()
