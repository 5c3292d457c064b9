"""`godwit migrate` from Python."""

import dataclasses
import json
import signal
import subprocess
import threading
import time


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


class OngoingMigration:
    """A `godwit migrate` that was started, followed by the lines of progress it prints.

    with begin(lab, container, "node2") as ongoing: …; killed when the block is left before its end.
    """

    def __init__(self, lab, container, target, mode=None, source=None, options=()):
        self._lab = lab
        self._container = container
        self._target = target
        self.source = source or container.node
        options = [*(["--mode", mode] if mode else []), *options]
        self._process = lab.popen(self.source, "godwit", "migrate", container.name, "--to", target, *options,
                                  "--json", text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self._lines = []
        self._times = []  # of each, when it was read
        self._ended = False
        self._result = None
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._process.stderr.close()

    def await_phase(self, name, timeout_s=30):
        """Returns as soon as the phase has begun."""
        self._await(lambda line: _phase_of(line) == name, f"phase {name}", timeout_s)

    def await_phase_or_end(self, *names, timeout_s=60):
        """Returns as soon as one of the phases has begun, or the migration is over."""
        with self._changed:
            if not self._changed.wait_for(
                    lambda: self._ended or any(_phase_of(line) in names for line in self._lines), timeout_s):
                raise TimeoutError(f"no phase {' or '.join(names)} in: {''.join(self._lines)}")

    def began_s(self, phase):
        """When the phase began, by CLOCK_MONOTONIC: when its line was read. None if it has not."""
        with self._changed:
            return next((at for line, at in zip(self._lines, self._times) if _phase_of(line) == phase), None)

    def await_round(self, number):
        """Returns as soon as the round is over."""
        self._await(lambda line: line.split()[2:4] == ["round", f"{number}:"], f"end of round {number}")

    def await_line(self, start):
        self._await(lambda line: line.startswith(start), f"line '{start}…'")

    def _await(self, is_it, what, timeout_s=30):
        end = time.monotonic() + timeout_s
        with self._changed:
            while not any(map(is_it, self._lines)):
                if self._ended or not self._changed.wait(end - time.monotonic()):
                    raise TimeoutError(f"no {what} in: {''.join(self._lines)}")

    def id(self):
        said = self._lab.exec(self.source, "godwit", "status", "--json").stdout
        return next(entry["id"] for entry in json.loads(said)["migrations"]
                    if entry["ongoing"] and entry["container"] == self._container.name)

    def interrupt(self):
        """As ^C does."""
        self._process.send_signal(signal.SIGINT)

    def result(self, timeout_s=120):
        """Waits for the end, and moves `container.node` along if the container moved."""
        if self._result:
            return self._result
        self._process.wait(timeout_s)
        self._reader.join()
        result = Migration(self._process.returncode, _last_object(self._process.stdout.read()), "".join(self._lines))
        if result.migrated:
            self._container.node = self._target
        self._result = result
        return result

    def _read(self):
        for line in self._process.stderr:
            with self._changed:
                self._lines.append(line)
                self._times.append(time.monotonic())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def begin(lab, container, target, **options):
    return OngoingMigration(lab, container, target, **options)


def migrate(lab, container, target, mode=None, source=None, options=(), timeout_s=120):
    """Runs it on the node the container is on, waits, and moves `container.node` along if it moved."""
    with begin(lab, container, target, mode=mode, source=source, options=options) as ongoing:
        return ongoing.result(timeout_s)


def _phase_of(line):
    """Of a line such as "   12.3 ms  prepare: preparing node2"."""
    words = line.split()
    return words[2].rstrip(":") if len(words) > 2 and words[1] in ("us", "ms", "s") else None


def _last_object(output):
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        return {}
