"""Three hosts; their containers and clients are those of tests/e2e."""

import concurrent.futures
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.e2e.conftest import keep, pair_on, pytest_runtest_makereport, without_agents  # noqa: E402,F401
from tests.support import leftovers  # noqa: E402
from tests.support.lab import CLIENT, Lab  # noqa: E402

from . import clocks, gates  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "cleaned_within_s(seconds): see tests/e2e/conftest.py")
    config.addinivalue_line("markers", "fast: part of `make test`")
    config.addinivalue_line("markers", "slow: takes a minute or more")


def pytest_addoption(parser):
    parser.addoption("--steps", help="only the cells of these, divided by commas; others: what is in no cell")


def pytest_collection_modifyitems(config, items):
    if steps := config.getoption("--steps"):
        items[:] = [item for item in items if _step(item) in steps.split(",")]


def _step(item):
    return item.callspec.params.get("step", "others") if hasattr(item, "callspec") else "others"


@pytest.fixture(scope="session")
def one_lab():
    clocks.put_up()
    with Lab.up(hosts=3, agents=False) as lab:
        gates.put_up(lab)
        for node in lab.nodes:
            lab.agent(node, "start")
        yield lab


def _sweep(lab):
    """So that a cell that failed does not spoil the next ones."""
    for node in lab.nodes:
        for name in ("checker", "other"):
            lab.exec(node, "runc", "delete", "--force", name, check=False)
            lab.exec(node, "ip", "netns", "delete", name, check=False)
        lab.agent(node, "kill")
        lab.agent(node, "start")


@pytest.fixture
def lab(one_lab, request):
    """As that of tests/e2e. Its hosts are looked at together: there are many cells."""
    one_lab.exec(CLIENT, "ip", "neighbour", "flush", "all")
    with concurrent.futures.ThreadPoolExecutor() as hosts:
        def on_all(look):
            return dict(zip(one_lab.nodes, hosts.map(look, one_lab.nodes)))

        before = on_all(lambda node: without_agents(leftovers.snapshot(one_lab, node)))
        yield one_lab
        for node in one_lab.nodes:  # an agent that a fault has ended and the cell did not start again
            if one_lab.agent_ended(node):
                one_lab.agent(node, "start")
        mark = request.node.get_closest_marker("cleaned_within_s")
        found = on_all(lambda node: leftovers.since(one_lab, node, before[node], mark.args[0] if mark else 3,
                                                    look=without_agents))
    left = [f"{node}: {line}" for node, lines in found.items() for line in lines]
    if left:
        _sweep(one_lab)
    assert not left, "left behind: " + "; ".join(left)
