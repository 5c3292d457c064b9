"""One cell at work: a container, its migration, and what holds the migration in its step while the fault is done."""

import contextlib
import os
import pathlib
import signal
import time

from tests.support import processes
from tests.support.migration import begin

from . import gates

TABLE = "godwit_faults"


class Scene:
    def __init__(self, lab, container, mode, keep):
        self.lab, self.container, self.mode, self.keep = lab, container, mode, keep
        self.ongoing = None
        self._held = contextlib.ExitStack()  # what go_on() ends
        self._whole = contextlib.ExitStack()  # what the end of the cell ends

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_on()
        self._whole.close()

    def begin(self, *options, target="node2"):
        self.ongoing = self._whole.enter_context(
            begin(self.lab, self.container, target, mode=self.mode, options=options))

    def go_on(self):
        """The migration is held no more."""
        self._held.close()

    def until_end(self, undo, *arguments):
        """UNDO is called when the cell is over, whatever happens."""
        self._whole.callback(undo, *arguments)

    def stop(self, pid):
        """The process stands still until the cell is over, or what this returns is called. It may end meanwhile."""
        pidfd = os.pidfd_open(pid)

        def let_it_go_on():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)

        self._whole.callback(os.close, pidfd)
        self._whole.callback(let_it_go_on)
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        return let_it_go_on

    # --- Holds

    def close_gate(self, node, command):
        self._held.enter_context(gates.closed(node, command))

    def stop_criu(self, node):
        """Returns what lets it go on; go_on() does as well."""
        stack = self._held.enter_context(contextlib.ExitStack())
        stack.enter_context(processes.criu_stopped(node))
        return stack.close

    def drop(self, node, hook, rule):
        """Packets of the host itself that match RULE are lost, arriving (hook input) or leaving (output). Returns what
        ends it; go_on() does as well."""
        stack = self._held.enter_context(contextlib.ExitStack())
        stack.callback(drop_packets(self.lab, node, hook, rule))
        return stack.close

    # --- Events

    def await_process(self, node, word):
        await_that(lambda: processes.find(node, word), f"process '{word}' on {node}")

    def await_file(self, node, pattern, has=""):
        def there():
            return any(has in path.read_text() for path in self.lab.root(node).glob(pattern))
        await_that(there, f"'{has}' in {pattern} on {node}")

    def await_end(self):
        """Of the migration, in whatever way."""
        self.ongoing.result()

    def await_loss(self):
        """Until the migration has noticed that the link is lost: it asks, waits for the link, or is over."""
        self.ongoing.await_phase_or_end("outcome", "postcopy-paused")


def drop_packets(lab, node, hook, rule):
    """Returns the function that ends it."""
    table = f"{TABLE}_{hook}"
    lab.exec(node, "nft", f"add table ip {table}; "
                          f"add chain ip {table} lost {{ type filter hook {hook} priority 0; }}; "
                          f"add rule ip {table} lost {rule} drop")
    return lambda: lab.exec(node, "nft", f"delete table ip {table}")


def await_that(condition, what, timeout_s=20):
    end = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):  # it ended while it was looked at
            if condition():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {timeout_s} s")
        time.sleep(0.005)


def missing_memory(pid):
    """Whether the process still waits for pages of its own: proc(5), um."""
    smaps = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    return any(line.startswith("VmFlags:") and " um" in line for line in smaps.splitlines())
