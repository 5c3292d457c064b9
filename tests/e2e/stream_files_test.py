"""Standard streams that a shell on the host redirected: to nowhere, to a file, to two."""

import os

import pytest

from tests.support import container as containers
from tests.support import printer

OUT, ERR = "/run/out.log", "/run/err.log"  # /run is each host's own


@pytest.fixture
def printing(lab, keep):
    return keep(printer.prepare(lab, "printing", "10.99.2.31"))


@pytest.fixture
def files(lab):
    yield
    for node in lab.nodes:
        lab.exec(node, "rm", "-f", OUT, ERR)


@pytest.mark.parametrize("redirections, labels_in", [
    (f"</dev/null >{OUT} 2>&1", {OUT: ["out", "err"]}),
    (f"</dev/null >{OUT} 2>{ERR}", {OUT: ["out"], ERR: ["err"]}),
    (f"</dev/null >>{OUT} 2>>{OUT}", {OUT: ["out", "err"]}),
], ids=["one-file", "two-files", "opened-twice"])
def test_file_that_hosts_do_not_share_goes_on_at_the_same_path(lab, files, printing, there_and_back, redirections,
                                                               labels_in):
    printer.run_redirected(lab, printing, redirections)
    parts = {path: [] for path in labels_in}

    # What a host's file holds when the container has just left it.
    def collect(migration):
        left = migration.report["source"]
        for path, part in parts.items():
            part.append(printer.read(lab, left, path))
            assert printer.logs_named(migration)["stdout"] == OUT

    there_and_back(printing, collect)
    printer.end(lab, printing)
    for path, (at_home, away) in parts.items():
        whole = printer.read(lab, "node1", path)
        assert whole.startswith(at_home) and away
        printer.assert_whole(at_home + away + whole.removeprefix(at_home), *labels_in[path])


def test_file_on_a_shared_file_system_has_everything_in_order(lab, printing, there_and_back):
    output = printing.bundle / "output.log"
    output.unlink(missing_ok=True)
    printer.run_redirected(lab, printing, f"</dev/null >{output} 2>&1")
    there_and_back(printing)
    printer.end(lab, printing)
    printer.assert_whole(output.read_text(), "out", "err")


def test_dev_null_stays_dev_null(lab, printing, there_and_back):
    printer.run_redirected(lab, printing, "</dev/null >/dev/null 2>&1")

    def goes_nowhere(_):
        pid = printing.state(lab)["pid"]
        assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3

    there_and_back(printing, goes_nowhere)


def test_input_file_is_read_on_where_it_was(lab, keep, there_and_back):
    reader = keep(containers.prepare(lab, "node1", "reader", "10.99.2.32",
                                     ["/bin/sh", "-c", "while read line; do echo $line; usleep 1000; done"],
                                     rootfs=containers.busybox_rootfs()))
    text = "".join(f"line {number}\n" for number in range(20_000))
    given, output = reader.bundle / "input.txt", reader.bundle / "output.log"
    given.write_text(text)
    printer.run_redirected(lab, reader, f"<{given} >{output} 2>&1")
    there_and_back(reader)
    size = output.stat().st_size
    lab.exec("node1", "timeout", "20", "sh", "-c", f"tail -c +{size + 1} -f {output} | head -n 1")  # it goes on
    lab.exec(reader.node, "runc", "delete", "--force", reader.name)
    assert output.stat().st_size > size
    assert text.startswith(output.read_text())
