"""Standard streams that are pipes to a supervisor on the source: on the target, log files take over."""

import os
import subprocess
import threading

import pytest

from tests.support import printer, processes


class Supervisor:
    """Starts the container with three pipes and keeps their other ends, as a supervisor does; that it is no process of
    the node's makes no difference to pipes."""

    def __init__(self, lab, container):
        stdin, self.input = os.pipe()
        self._ends = [os.pipe(), os.pipe()]
        self.texts = [b"", b""]
        process = lab.popen(container.node, "runc", "run", "-d", "--bundle", str(container.bundle), container.name,
                            stdin=stdin, stdout=self._ends[0][1], stderr=self._ends[1][1])
        for fd in (stdin, self._ends[0][1], self._ends[1][1]):
            os.close(fd)
        assert process.wait() == 0
        self._changed = threading.Condition()
        self._readers = [threading.Thread(target=self._read, args=(i,), daemon=True) for i in range(2)]
        for reader in self._readers:
            reader.start()

    def _read(self, i):
        while part := os.read(self._ends[i][0], 65536):
            with self._changed:
                self.texts[i] += part
                self._changed.notify_all()
        os.close(self._ends[i][0])

    def await_output(self, text):
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.texts[0], 20), self.texts[0][-200:]

    def all_output(self):
        """[stdout, stderr] once nobody can write to the pipes any more."""
        for reader in self._readers:
            reader.join(20)
            assert not reader.is_alive(), "somebody still holds the pipe"
        return [text.decode() for text in self.texts]


@pytest.fixture
def printing(lab, keep):
    yield keep(printer.prepare(lab, "piped", "10.99.2.33", "--echo", "1"))
    for node in lab.nodes:
        lab.exec(node, "rm", "-rf", "/var/lib/godwit/streams")


def test_output_goes_on_in_the_logs_that_the_report_names(lab, printing, there_and_back):
    supervisor = Supervisor(lab, printing)
    os.write(supervisor.input, b"hello\n")
    supervisor.await_output(b"in hello\n")
    parts = []

    def collect(migration):
        if not parts:
            parts.append(supervisor.all_output())
        else:
            parts.append([printer.read(lab, migration.report["source"], path) for path in logs])
        logs[:] = [printer.logs_named(migration)[stream] for stream in ("stdout", "stderr")]
        assert any("stdin was a pipe" in note for note in migration.report["notes"])

    logs = []
    there_and_back(printing, collect)
    printer.end(lab, printing)
    parts.append([printer.read(lab, printing.node, path) for path in logs])
    os.close(supervisor.input)
    out, err = ("".join(part[i] for part in parts) for i in range(2))
    assert all(all(part) for part in parts)
    printer.assert_whole(out.replace("in hello\n", ""), "out")
    printer.assert_whole(err, "err")


def test_input_stays_open_and_silent(lab, printing, there_and_back):
    supervisor = Supervisor(lab, printing)

    def is_open(_):
        held = processes.find(printing.node, "stream_keeper", "--hold")
        assert len(held) == 1
        pipe = os.readlink(f"/proc/{printing.state(lab)['pid']}/fd/0")
        assert os.readlink(f"/proc/{held[0]}/fd/0") == pipe and pipe.startswith("pipe:")

    there_and_back(printing, is_open)
    printer.end(lab, printing)
    os.close(supervisor.input)


def test_one_pipe_for_both_outputs_stays_one(lab, printing, there_and_back):
    read_end, write_end = os.pipe()
    process = lab.popen("node1", "runc", "run", "-d", "--bundle", str(printing.bundle), printing.name,
                        stdin=subprocess.DEVNULL, stdout=write_end, stderr=write_end)
    os.close(write_end)
    parts, logs = [], []
    text = []
    reader = threading.Thread(target=lambda: text.extend(iter(lambda: os.read(read_end, 65536), b"")), daemon=True)
    reader.start()
    assert process.wait() == 0

    def collect(migration):
        if logs:
            parts.append(printer.read(lab, migration.report["source"], logs.pop()))
        else:
            reader.join(20)
            parts.append(b"".join(text).decode())
        logs.append(printer.logs_named(migration)["stdout"])

    there_and_back(printing, collect)
    printer.end(lab, printing)
    parts.append(printer.read(lab, printing.node, logs.pop()))
    os.close(read_end)
    printer.assert_whole("".join(parts), "out", "err")
