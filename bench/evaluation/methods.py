"""The ways to move a container. Each takes it to the other node, says what it measured in the same terms, and either
leaves it running there or raises MoveFailed.

The scripts (bench/baseline/) are what users of runC and CRIU do, written to be quick: the target's network is made
beforehand, the receiver listens, the restore starts with the last byte. Their downtime, like godwit's, is from the
freeze to the resume, out of CRIU's own logs. The total time of all methods is what a stop watch beside the command
says.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from tests.support import container as containers
from tests.support.migration import begin
from tests.support.paths import ROOT

from . import podman

TIMEOUT_S = 300
DISK_IMAGES = "/var/tmp/godwit-evaluation"
# Of precopy, when a program writes faster than rounds can follow: a figure, rather than a migration rolled back.
PRECOPY_LIMITS = ["--timeout", "20s", "--at-limit", "take-downtime"]
FREEZE_PHASES = ("freeze", "dump", "transfer", "restore", "resume")


class MoveFailed(Exception):
    """OUTCOME: "rolled_back" (it runs on the source) or "failed" (it may be anywhere)."""

    def __init__(self, outcome, why):
        super().__init__(why)
        self.outcome = outcome


@dataclasses.dataclass(frozen=True)
class Method:
    title: str
    move: object  # of (lab, container, conditions); returns the figures
    unavailable: object = lambda machine: None  # of describe(); says why it cannot run here
    engine: str = "runc"  # what starts the container


def other_node(node):
    return {"node1": "node2", "node2": "node1"}[node]


def by_godwit(mode):
    def move(lab, container, conditions):
        options = ["--streams", str(conditions["streams"]), "--compress", conditions["compress"], "--downtime-max",
                   conditions["downtime_max"], "--rounds-max", str(conditions["rounds_max"]),
                   *(PRECOPY_LIMITS if mode == "precopy" else [])]
        began = time.monotonic()
        with begin(lab, container, other_node(container.node), mode=mode, options=options) as ongoing:
            result = ongoing.result(TIMEOUT_S)
            marks = {phase: at for phase in ("rounds", "freeze") if (at := ongoing.began_s(phase)) is not None}
        total_ms = (time.monotonic() - began) * 1000
        if not result.migrated:
            rolled_back = result.status == 3
            log = " / ".join(result.report.get("log", [])[-5:])
            raise MoveFailed("rolled_back" if rolled_back else "failed", f"{result.why()} {log}"[:1500])
        return _figures_of_godwit(result.report, total_ms) | {"marks_s": marks | {"began": began}}

    return move


def _figures_of_godwit(report, total_ms):
    phases = report["phases"]
    return {
        "downtime_ms": report["downtime_ms"],
        "total_ms": round(total_ms, 3),
        "mode": report["mode"],
        "payload_bytes": report["bytes_sent"],
        "phases": phases,
        "freeze_phases": {name: phases[name] for name in FREEZE_PHASES if name in phases},
        "rounds": [{name: round_[name] for name in ("pages", "bytes", "ms", "estimated_downtime_ms")}
                   for round_ in report.get("rounds", [])],
        "postcopy": report.get("postcopy"),
        "throttle_percent_max": report.get("throttle_percent_max", 0),
    }


def by_script(script, *options, environment=None):
    def move(lab, container, conditions):
        target = other_node(container.node)
        command = [str(ROOT / "bench" / "baseline" / script), container.name, "--from", container.node, "--to", target,
                   "--bundle", str(container.bundle), "--address", f"{container.address}/{containers.SUBNET_BITS}",
                   *options]
        lab.align_clocks()
        began = time.monotonic()
        status, output, errors = run_script(command, environment)
        total_ms = (time.monotonic() - began) * 1000
        if status != 0:
            raise MoveFailed("failed", " / ".join(errors.strip().splitlines()[-3:])[-600:] or f"exit status {status}")
        container.node = target
        return _figures_of_script(json.loads(output), total_ms) | {"marks_s": {"began": began}}

    return move


def _figures_of_script(said, total_ms):
    phases = said.get("phases", {})
    return {
        "downtime_ms": said["downtime_ms"],
        "total_ms": round(total_ms, 3),
        "payload_bytes": said["image_bytes"],
        "phases": phases,
        "freeze_phases": {name: phases[name] for name in ("dump", "transfer", "restore") if name in phases},
    }


def run_script(command, environment=None):
    """(status, output, errors). However this ends, the script has cleaned up, and no process of it is left."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # Files, not pipes: what a script that failed has left running would keep those open.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                   start_new_session=True, env=os.environ | (environment or {}))
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise MoveFailed("failed", f"not over after {TIMEOUT_S} s") from error
        finally:
            _end_session(process)
        output.seek(0)
        errors.seek(0)
        return process.returncode, output.read(), errors.read()


def _end_session(process):
    """The script, should it still run, cleans up by its trap; then all that it has left is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    shutil.rmtree(DISK_IMAGES, ignore_errors=True)


def _needs_soft_dirty(machine):
    if machine["soft_dirty"]:
        return None
    return f"CRIU's pre-copy needs soft-dirty tracking, which the kernel {machine['kernel']} does not have"


def _needs_podman(machine):
    return None if machine["versions"].get("podman") else "podman is not installed"


METHODS = {
    "runc-disk": Method("runC + CRIU, images on disk",
                        by_script("stop_and_copy", "--transfer", "tar", "--images", DISK_IMAGES)),
    "runc-tmpfs": Method("runC + CRIU, images in tmpfs", by_script("stop_and_copy", "--transfer", "tar")),
    "runc-page-server": Method("runC + CRIU, page server", by_script("stop_and_copy", "--transfer", "page-server")),
    "runc-precopy": Method("runC + CRIU, pre-copy", by_script("stop_and_copy", "--pre-dumps", "3"), _needs_soft_dirty),
    "criu-lazy-pages": Method("runC + CRIU, post-copy (lazy-pages)", by_script("criu_postcopy")),
    "podman": Method("podman checkpoint and restore",
                     by_script("podman_checkpoint", environment=podman.script_environment()), _needs_podman, "podman"),
    "godwit-cold": Method("godwit cold", by_godwit("cold")),
    "godwit-precopy": Method("godwit precopy", by_godwit("precopy")),
    "godwit-postcopy": Method("godwit postcopy", by_godwit("postcopy")),
    "godwit-hybrid": Method("godwit hybrid", by_godwit("hybrid")),
    "godwit-auto": Method("godwit auto", by_godwit("auto")),
}
