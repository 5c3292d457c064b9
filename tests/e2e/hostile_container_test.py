"""Containers that fight back: what they do costs at most their own migration. They go on with it, on one host, and
others are moved beside them."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import begin, migrate

from .conftest import assert_runs_on

ADDRESS = "10.99.2.31"
ALL = ["forks", "exits", "names", "full", "vdso", "traces"]


def start(lab, keep, kinds, edit=None):
    container = keep(containers.start_checker(lab, "node1", "nuisance", name="nuisance", address=ADDRESS,
                                              edit=edit, **{"with": ",".join(kinds)}))
    assert ask(lab, container, "verify") == "ok"
    return container


def ask(lab, container, line):
    with Checker(lab, container) as checker:
        return checker.raw(line)


def assert_lives(lab, container, migration):
    """Wherever it is now, it is there only, and all that it does still works."""
    assert migration.report.get("outcome") in ("migrated", "rolled_back"), migration.why()
    home, other = ("node2", "node1") if migration.migrated else ("node1", "node2")
    assert_runs_on(lab, container, home, not_on=other)
    assert ask(lab, container, "verify") == "ok", migration.why()


@pytest.mark.parametrize("mode", ["cold", "precopy", "hybrid"])
@pytest.mark.parametrize("kinds", [["forks", "exits"], ["names"], ["full"], ["vdso"], ["traces"], ALL],
                         ids=lambda kinds: "+".join(kinds) if isinstance(kinds, list) else kinds)
def test_container_that_fights_back(lab, keep, kinds, mode):
    container = start(lab, keep, kinds)
    migration = migrate(lab, container, "node2", mode=mode)
    assert_lives(lab, container, migration)
    assert ask(lab, container, "calm") == "ok"
    other = "node1" if migration.migrated else "node2"
    calm = migrate(lab, container, other, mode=mode)
    assert calm.migrated, calm.why()


@pytest.mark.parametrize("kinds", [["forks", "exits"], ALL], ids="+".join)
def test_others_are_moved_beside_it(lab, keep, echo, client, there_and_back, kinds):
    container = start(lab, keep, kinds)
    with begin(lab, container, "node2", mode="hybrid") as ongoing:
        there_and_back(echo)
        assert_lives(lab, container, ongoing.result())


def test_mounts_whose_paths_look_like_something_else(lab, keep):
    paths = ["/tmp/a b", "/tmp/c\nd", "/tmp/e\\040f", "/tmp/g (deleted)", "/tmp/h - tmpfs i rw"]

    def edit(config):
        for path in paths:
            config["mounts"].append({"destination": path, "type": "tmpfs", "source": "a b\n- ext4 c",
                                     "options": ["nosuid", "size=1m"]})
    container = start(lab, keep, ["forks"], edit=edit)
    migration = migrate(lab, container, "node2")
    assert_lives(lab, container, migration)
