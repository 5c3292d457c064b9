"""systemd hears that the agent is ready, alive and stopping: here a socket in systemd's place."""

import os
import signal
import socket
import subprocess

from tests.support import processes

INTERVAL_US = 200_000


def test_the_watchdog_is_told_that_the_agent_is_alive(lab):
    path = lab.root("node1") / "run" / "notify"
    lab.agent("node1", "stop")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(path))
            systemd.settimeout(20)
            agent = lab.popen("node1", "env", "NOTIFY_SOCKET=/run/notify", f"WATCHDOG_USEC={INTERVAL_US}", "godwitd",
                              "--config", "/etc/godwit/godwit.toml", stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                assert [systemd.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
                os.kill(processes.find("node1", "godwitd")[0], signal.SIGTERM)
                said = systemd.recv(100)
                while said == b"WATCHDOG=1":
                    said = systemd.recv(100)
                assert said == b"STOPPING=1"
                assert agent.wait(20) == 0
            finally:
                if agent.poll() is None:
                    agent.kill()
                    agent.wait()
    finally:
        path.unlink(missing_ok=True)
        lab.agent("node1", "start")
