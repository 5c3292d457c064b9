"""Migrations between two machines, each with another kernel; started by ../two_kernels_test.py in the first of them."""

import json
import time

import pytest

from tests.e2e.conftest import assert_runs_on
from tests.support import client as clients
from tests.support import container as containers
from tests.support import machine_pair
from tests.support.checker import Checker
from tests.support.conversation import Conversation
from tests.support.lab import CLIENT
from tests.support.migration import migrate

# A minute for what takes three seconds: every instruction is emulated, on both.
pytestmark = pytest.mark.cleaned_within_s(60)
OPTIONS = ["--at-limit", "take-downtime"]


@pytest.fixture(scope="session")
def one_lab():
    with machine_pair.lab_up() as lab:
        yield lab


@pytest.fixture
def lab(lab):
    """The bundle of a container that came from another machine stays where it ended, as its operator's own would."""
    yield lab
    for node in lab.nodes:
        lab.exec(node, "rm", "-rf", "/run/godwit/bundles")


def moved(lab, container, target, **options):
    source = container.node
    migration = migrate(lab, container, target, options=OPTIONS, timeout_s=300, **options)
    print(json.dumps(migration.report))
    assert migration.migrated, migration.why()
    assert_runs_on(lab, container, target, not_on=source)


def test_the_kernels_differ(lab):
    here, there = (lab.exec(node, "uname", "-r").stdout for node in lab.nodes)
    assert here != there


def test_a_connection_goes_to_the_other_kernel_and_back(lab, echo):
    with clients.echo_client(lab.prefix(CLIENT), host=echo.address, port=containers.ECHO_PORT) as client:
        for target in ("node2", "node1", "node2"):
            moved(lab, echo, target)
            assert client.mark(target)["requests"] > 0
        client.stop()
    with Conversation(lab, echo.address, containers.ECHO_PORT) as verifier:
        assert verifier.ask("verify") == "ok"


@pytest.mark.parametrize("mode", ["hybrid", "precopy", "postcopy", "cold"])
def test_memory_under_writing_arrives_on_the_other_kernel_and_back(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=16 << 20, threads=2, rate=100 << 10))
    with Checker(lab, checker) as memory:
        for target in ("node2", "node1"):
            moved(lab, checker, target, mode=mode)
            memory.assert_right()


@pytest.mark.parametrize("program, flags", [("map_storm", {"seed": 1, "areas": 40, "pages": 32}),
                                            ("shm_checker", {"processes": 3, "rate": 64 << 10})])
def test_what_is_mapped_and_shared_arrives_on_the_other_kernel_and_back(lab, keep, program, flags):
    checker = keep(containers.start_checker(lab, "node1", program, **flags))
    with Checker(lab, checker) as memory:
        for target in ("node2", "node1"):
            moved(lab, checker, target)
            memory.assert_right()


def test_time_goes_on_as_if_the_machine_were_the_same(lab, echo):
    """The machines were not started at the same moment. Programs wait until points of time that clocks will reach."""
    with Conversation(lab, echo.address, containers.ECHO_PORT) as conversation:
        before, asked_at = [float(each) for each in conversation.ask("clock").split()], time.monotonic()
        moved(lab, echo, "node2")
        after, passed = [float(each) for each in conversation.ask("clock").split()], time.monotonic() - asked_at
    apart = abs(float(lab.exec("node1", "cat", "/proc/uptime").stdout.split()[0]) -
                float(lab.exec("node2", "cat", "/proc/uptime").stdout.split()[0]))
    assert apart > 10, "the machines' clocks are too much alike for this test"
    for was, became in zip(before, after):
        # What the clocks do not count is the time that the container stood still, and what TCG's clocks differ by.
        assert -0.5 < became - was < passed + 2, (before, after, passed)
