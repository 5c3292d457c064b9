"""`godwit migrate` from Python."""

import dataclasses
import json
import subprocess


@dataclasses.dataclass
class Migration:
    """How one ended. `report` is the object that --json prints; empty when godwit printed none."""

    status: int
    report: dict
    errors: str  # standard error

    @property
    def migrated(self):
        return self.status == 0 and self.report.get("outcome") == "migrated"

    def why(self):
        return self.report.get("error") or self.errors.strip() or f"exit status {self.status}"


def migrate(lab, container, target, mode=None, source=None, timeout_s=120):
    """Runs it on the node the container is on, waits, and moves `container.node` along if it moved."""
    options = ["--mode", mode] if mode else []
    process = lab.popen(source or container.node, "godwit", "migrate", container.name, "--to", target,
                        *options, "--json", text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    result = Migration(process.returncode, _last_object(output), errors)
    if result.migrated:
        container.node = target
    return result


def _last_object(output):
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        return {}
