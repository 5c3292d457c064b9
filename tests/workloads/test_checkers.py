"""A checker that cannot find anything proves nothing: memory is spoilt behind its back, and it must say how."""

import contextlib
import json
import pathlib
import re
import socket
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.support.paths import workload  # noqa: E402

PAGE = 4096


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Workload:
    def __init__(self, process, connection):
        self._process = process
        self._connection = connection
        self._replies = connection.makefile()

    def ask(self, line):
        self._connection.sendall(line.encode() + b"\n")
        return json.loads(self._replies.readline())

    def await_writes(self, number):
        while (verdict := self.ask("verify"))["writes"] < number:
            assert verdict["ok"]

    def mappings(self, pid=None):
        """(start, bytes, path) of what may be written."""
        for line in pathlib.Path(f"/proc/{pid or self._process.pid}/maps").read_text().splitlines():
            if fields := re.match(r"(\w+)-(\w+) rw\S+ \w+ \S+ \d+ *(.*)", line):
                start, end = int(fields[1], 16), int(fields[2], 16)
                yield start, end - start, fields[3]

    def pages_at(self, bytes_):
        return next(start for start, size, path in self.mappings() if size == bytes_ and not path)

    def children(self):
        return pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()

    @contextlib.contextmanager
    def memory(self, pid=None):
        with open(f"/proc/{pid or self._process.pid}/mem", "r+b", buffering=0) as memory:
            yield memory

    def read(self, at):
        with self.memory() as memory:
            memory.seek(at)
            return memory.read(PAGE)

    def write(self, at, data, pid=None):
        with self.memory(pid) as memory:
            memory.seek(at)
            memory.write(data)


@contextlib.contextmanager
def started(name, **flags):
    port = free_port()
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    process = subprocess.Popen([workload(name), "--port", str(port), *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            yield Workload(process, connection)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def pages():
    """16 pages, all of them written every 0.4 s and checked only on demand."""
    with started("page_checker", bytes=16 * PAGE, rate=40 * 4 * PAGE, check=0) as checker:
        yield checker


def found_after(workload_, spoil):
    """What the workload says of what SPOIL does. Its own writes may come between: then once more."""
    for _ in range(10):
        spoil()
        if not (verdict := workload_.ask("verify"))["ok"]:
            return verdict
    raise AssertionError("nothing was found")


def spoil_twice(workload_, at, spoil):
    return found_after(workload_, lambda: workload_.write(at, spoil(workload_.read(at))))


def test_untouched_memory_is_right(pages):
    pages.await_writes(64)
    assert pages.ask("verify")["ok"]


def test_lost_page_is_found(pages):
    verdict = spoil_twice(pages, pages.pages_at(16 * PAGE) + 3 * PAGE, lambda _: bytes(PAGE))
    assert verdict["page"] == 3 and "lost" in verdict["why"], verdict


def test_doubled_page_is_found(pages):
    at = pages.pages_at(16 * PAGE)
    verdict = spoil_twice(pages, at + 3 * PAGE, lambda _: pages.read(at + 4 * PAGE))
    assert verdict["page"] == 3 and "doubled" in verdict["why"], verdict


def test_stale_and_torn_pages_are_found(pages):
    at = pages.pages_at(16 * PAGE) + 3 * PAGE
    old = pages.read(at)
    pages.await_writes(64)
    torn = spoil_twice(pages, at, lambda new: old[:PAGE // 2] + new[PAGE // 2:])
    assert torn["page"] == 3 and "torn" in torn["why"], torn
    pages.write(at, old)
    # Its verdict stays what it was first; another checker has not seen any of this.
    assert not pages.ask("verify")["ok"]


def test_stale_page_is_found(pages):
    at = pages.pages_at(16 * PAGE) + 3 * PAGE
    old = pages.read(at)
    pages.await_writes(64)
    verdict = spoil_twice(pages, at, lambda _: old)
    assert "stale" in verdict["why"], verdict


def test_locked_memory_of_another_time_is_found(pages):
    smaps = pathlib.Path(f"/proc/{pages._process.pid}/smaps").read_text()
    locked = next(int(block.split("-")[0], 16) for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps)
                  if re.search(r"^Locked: +[1-9]", block, re.MULTILINE))
    pages.write(locked, b"\x55" * 16)
    assert "different times" in pages.ask("verify")["why"]


def test_storm_goes_on_for_thousands_of_steps_and_is_right():
    with started("map_storm", seed=7) as storm:
        while storm.ask("stats")["steps"] < 3000:
            pass
        verdict = storm.ask("verify")
        assert verdict["ok"] and verdict["forks"] > 10, verdict


def is_checked_page(page):
    """Not the heap, which lists numbers and counts, too: the contents of a checked page are multiples of one number."""
    _, count, second, third = struct.unpack("<4Q", page[:32])
    return count > 0 and second != 0 and (third - second) * 2 % 2**64 == second


def spoil_storm(storm):
    """Up to 50 pages with something in them."""
    spoilt = 0
    for start, size, path in list(storm.mappings()):
        for at in range(start, start + min(size, 1 << 20), PAGE) if not path else ():
            with contextlib.suppress(OSError):  # unmapped since
                if spoilt < 50 and is_checked_page(storm.read(at)):
                    storm.write(at + 2048, b"\xff" * 64)
                    spoilt += 1


def test_storm_finds_a_spoilt_page():
    with started("map_storm", seed=7, rate=100) as storm:
        while storm.ask("stats")["steps"] < 100:
            pass
        verdict = found_after(storm, lambda: spoil_storm(storm))
        # A child that was forked since may have been the first to find one; its words are on the standard output.
        assert re.search("torn|a child ended with status", verdict["why"]), verdict


def test_shared_areas_are_right_and_a_spoilt_page_is_found():
    with started("shm_checker", bytes=64 * PAGE, processes=2, rate=PAGE) as checker:
        verdict = checker.ask("verify")
        assert verdict["ok"] and "sysv" in verdict["areas"], verdict
        child = checker.children()[0]
        at = next(start for start, _, path in checker.mappings(child) if "checker-deleted" in path)
        checker.write(at + 20 * PAGE, bytes(PAGE), child)
        assert "deleted page 20 lost" in checker.ask("verify")["why"]


def test_area_that_is_no_longer_shared_is_found():
    with started("shm_checker", bytes=64 * PAGE, processes=2, rate=PAGE) as checker:
        pathlib.Path("/dev/shm/checker-write").unlink()  # the files are the processes' own now
        pathlib.Path("/dev/shm/checker-map").unlink()
        assert checker.ask("verify")["ok"]


@pytest.mark.parametrize("kernel", ["triad", "random"])
def test_stream_reports_its_pace_and_checks_its_arrays(kernel):
    with started("stream_like", kernel=kernel, bytes=24 << 20) as stream:
        assert stream.ask("verify") == {"ok": True}
        timeline = []
        while not timeline:
            timeline = stream.ask("stats")["timeline"]
        assert timeline[0] > 0
        middle = next(start + size // 2 for start, size, _ in stream.mappings() if size >= 24 << 20)
        stream.write(middle, b"\x55" * 64)
        if kernel == "random":  # triad writes it again before long
            assert not stream.ask("verify")["ok"]
