"""A terminal from a console socket: on the target a new one, whose output a log file keeps."""

import os
import socket
import threading

from tests.support import printer


def run_with_terminal(lab, container, directory):
    """`runc run -d` with a console socket; returns the master of the terminal."""
    path = str(directory / "console.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = lab.popen(container.node, "runc", "run", "-d", "--bundle", str(container.bundle),
                            "--console-socket", path, container.name)
        connection, _ = listener.accept()
        with connection:
            _, (master,), _, _ = socket.recv_fds(connection, 4096, 1)
        assert process.wait() == 0
    return master


def read_until_hung_up(master, text):
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: nobody has the other side any more
            return
        if not part:
            return
        text.append(part)


def test_output_goes_on_in_the_log_that_the_report_names(lab, keep, tmp_path, there_and_back):
    printing = keep(printer.prepare(lab, "terminal", "10.99.2.34", options=["--terminal"]))
    master = run_with_terminal(lab, printing, tmp_path)
    text, parts, logs = [], [], []
    reader = threading.Thread(target=read_until_hung_up, args=(master, text), daemon=True)
    reader.start()

    def collect(migration):
        if logs:
            parts.append(printer.read(lab, migration.report["source"], logs.pop()))
        else:
            reader.join(20)
            assert not reader.is_alive(), "the terminal on the source is still in use"
            parts.append(b"".join(text).decode())
        logs.append(printer.logs_named(migration)["terminal"])
        pid = printing.state(lab)["pid"]
        assert os.readlink(f"/proc/{pid}/fd/0").startswith("/dev/pts/")

    there_and_back(printing, collect)
    printer.end(lab, printing)
    parts.append(printer.read(lab, printing.node, logs.pop()))
    os.close(master)
    for node in lab.nodes:
        lab.exec(node, "rm", "-rf", "/var/lib/godwit/streams")
    assert all(parts)
    printer.assert_whole("".join(parts).replace("\r\n", "\n"), "out", "err")
