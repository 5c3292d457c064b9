"""Two machines that QEMU emulates (tools/vm), with a kernel each and a link between them, which have one lab together:
node1 and the client are in the first, node2 is in the second. What the machines tell each other besides goes by files in a
directory that both see.

    run(...)                        on the machine that emulates them
    lab_up()                        in the first: the lab of both, or the usual one where there is no pair
    machine_pair.py DIRECTORY       in the second, until the first is done
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.support.lab import Lab, LabError  # noqa: E402
from tests.support.paths import BUILD, TOOLS  # noqa: E402

BOOTS_WITHIN_S = 400


def run(suites, directory, share, command, timeout_s, show, cgroup=2):
    """COMMAND in the first machine, with its output line by line to SHOW; returns its exit status, or another than 0 if one of
    the machines failed. SUITES: whose kernels. DIRECTORY is the pair's, made here, in SHARE or SHARE itself, which
    the machines can write to. CGROUP: the version that they have mounted."""
    directory.mkdir(exist_ok=True)
    subprocess.run([BUILD / "bin/godwit", "pki", "ca", "--dir", directory / "pki", "--days", "2"], check=True,
                   stdout=subprocess.DEVNULL)
    for suite in suites:
        subprocess.run([TOOLS / "vm", "--suite", suite, "--fetch"], check=True)
    machines = []

    def start(number, *what):
        sockets = [f"{directory}/lan{each}" for each in (number, 3 - number)]
        # One processor: QEMU's emulation of two, in both, has locked up and panicked.
        options = ["--suite", suites[number - 1], "--cgroup", str(cgroup), "--memory", "4096", "--processors", "1", "--timeout",
                   str(timeout_s), "--share", str(share), "--lan", ",".join(sockets)]
        machines.append(subprocess.Popen([TOOLS / "vm", *options, "--", *what], stdout=subprocess.PIPE, text=True,
                                         stderr=subprocess.STDOUT, errors="replace", start_new_session=True))
        return machines[-1]

    def show_first():
        for line in first.stdout:
            show(line)
        with contextlib.suppress(FileNotFoundError):
            (directory / "done").touch()  # whatever ended it: the second need not wait

    try:
        first = start(1, "env", f"GODWIT_PAIR={directory}", *command)
        showing = threading.Thread(target=show_first)
        showing.start()
        # One after the other: their clocks are to differ.
        while not (directory / "first").exists() and first.poll() is None:
            time.sleep(0.5)
        second = start(2, "/usr/bin/python3", __file__, str(directory))
        said = list(second.stdout)
        if second.wait() != 0:
            (directory / "failed").touch()
            show("".join(["the second machine:\n", *said[-50:]]))
        showing.join()
        return first.wait() or second.returncode
    finally:
        for machine in machines:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(machine.pid, signal.SIGTERM)
        for machine in machines:
            machine.wait()


def _options(directory, number):
    return ["--only", str(number), "--trunk", "eth0", "--authority", str(directory / "pki")]


@contextlib.contextmanager
def lab_up():
    """As Lab.up() with two hosts."""
    if "GODWIT_PAIR" not in os.environ:
        with Lab.up(hosts=2) as lab:
            yield lab
        return
    directory = pathlib.Path(os.environ["GODWIT_PAIR"])
    try:
        with Lab.up(hosts=2, options=_options(directory, 1)) as lab:
            (directory / "first").touch()
            end = time.monotonic() + BOOTS_WITHIN_S
            while not (directory / "second").exists():
                if time.monotonic() > end or (directory / "failed").exists():
                    raise LabError("the second machine is not there")
                time.sleep(0.5)
            yield lab
    finally:
        (directory / "done").touch()


def main():
    directory = pathlib.Path(sys.argv[1])
    with Lab.up(hosts=2, options=_options(directory, 2)):
        (directory / "second").touch()
        while not (directory / "done").exists():
            time.sleep(1)


if __name__ == "__main__":
    main()
