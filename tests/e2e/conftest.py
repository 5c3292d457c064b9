"""One lab for the whole run; each test gets two hosts as they were and leaves them so.

    /usr/bin/python3 -m pytest tests/e2e        (as root; `make build` first)
"""

import contextlib
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.support import client as clients  # noqa: E402
from tests.support import container as containers  # noqa: E402
from tests.support import leftovers  # noqa: E402
from tests.support.conversation import Conversation  # noqa: E402
from tests.support.lab import CLIENT, Lab  # noqa: E402
from tests.support.migration import migrate  # noqa: E402
from tests.support.pair import Pair  # noqa: E402

ECHO_V4, ECHO_V6 = "10.99.2.11", "fd00:99::2:11"


@pytest.fixture(scope="session")
def one_lab():
    with Lab.up(hosts=2) as lab:
        yield lab


def pytest_configure(config):
    config.addinivalue_line("markers", "cleaned_within_s(seconds): how long hosts may take until nothing is left on "
                                       "them (default: 3)")


@pytest.fixture
def lab(one_lab, request):
    """Two hosts with their agents. Fails the test that leaves anything on one of them."""
    # An address of an earlier test belongs to another container now, with another MAC.
    one_lab.exec(CLIENT, "ip", "neighbour", "flush", "all")
    before = {node: without_agents(leftovers.snapshot(one_lab, node)) for node in one_lab.nodes}
    yield one_lab
    mark = request.node.get_closest_marker("cleaned_within_s")
    settle_s = mark.args[0] if mark else 3
    left = []
    for node in one_lab.nodes:
        left += [f"{node}: {line}" for line in leftovers.since(one_lab, node, before[node], settle_s,
                                                               look=without_agents)]
    assert not left, "left behind: " + "; ".join(left)


def without_agents(inventory):
    """A test may start an agent again; it is another process then."""
    kept = [process for process in inventory["process"] if "godwitd" not in process]
    return {**inventory, "process": kept}


@pytest.fixture
def keep(lab):
    """keep(container): it is removed at the end of the test, wherever it is then."""
    kept = []

    def register(container):
        kept.append(container)
        return container

    yield register
    places = [(container, node) for container in kept for node in lab.nodes]
    for container, node in places:
        lab.exec(node, "runc", "delete", "--force", container.name, check=False)
    # After all have ended: connections between them that nobody answers would keep the namespaces for a minute.
    for container, node in places:
        lab.exec(node, "ip", "netns", "delete", container.name, check=False)


@pytest.fixture
def echo(lab, keep):
    """A container on node1 that answers lines, over IPv4 and IPv6."""
    return keep(containers.start_echo(lab, "node1", address=ECHO_V4, also=[f"{ECHO_V6}/64"]))


@pytest.fixture
def pair_on(lab, keep):
    """pair_on(node of the left one, node of the right one): two containers with connections between them."""
    with contextlib.ExitStack() as stack:
        yield lambda left_node, right_node: Pair(lab, keep, stack, left_node, right_node)


@pytest.fixture
def client(lab, echo):
    """Has a connection to the echo container, in use without a pause; every reply of it is checked. A connection that
    broke, or a reply that was wrong, lost or doubled at any time fails the test."""
    with clients.echo_client(lab.prefix(CLIENT), host=echo.address, port=containers.ECHO_PORT) as connected:
        yield connected
        connected.stop()


@pytest.fixture
def there_and_back(lab):
    """there_and_back(container, check): to the other host and home again; check(migration) after each way."""

    def run(container, check=lambda migration: None):
        home = container.node
        away = next(node for node in lab.nodes if node != home)
        for target in (away, home):
            source = container.node
            migration = migrate(lab, container, target)
            assert migration.migrated, migration.why()
            assert_runs_on(lab, container, target, not_on=source)
            check(migration)

    return run


@pytest.fixture
def slow_link(lab):
    """node2 has a link on which the 16 MiB of the echo container take seconds: the transfer is a phase to act in."""
    lab.link("node2", "--rate", "50mbit")
    yield
    lab.link("node2", "--rate", "off")


def assert_rolled_back(lab, container, client, migration, error):
    """It runs on node1 as if nothing had been, for its client too; ERROR is a pattern for step, host and cause."""
    assert migration.status == 3 and migration.report["outcome"] == "rolled_back", migration.why()
    assert re.search(error, migration.report["error"]), migration.report["error"]
    assert_runs_on(lab, container, "node1", not_on="node2")
    client.mark("rolled back")
    with Conversation(lab, container.address, containers.ECHO_PORT) as verifier:
        assert verifier.ask("verify") == "ok"
    assert client.mark("afterwards")["requests"] > 0


def assert_runs_on(lab, container, node, not_on):
    assert container.status(lab, node) == "running"
    assert container.status(lab, not_on) is None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """What the agents said goes with a failure."""
    report = (yield).get_result()
    if report.failed and "one_lab" in item.funcargs:
        for node in item.funcargs["one_lab"].nodes:
            with contextlib.suppress(Exception):
                log = item.funcargs["one_lab"].agent_log(node)
                report.sections.append((f"godwitd on {node}", "\n".join(log.splitlines()[-15:])))
