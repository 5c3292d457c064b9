"""Hook programs on both hosts: told of the move, limited in time, and without a say in it."""

import pytest

from tests.support.agent_setup import configured
from tests.support.migration import begin, migrate
from tests.support.refusal import assert_both_refuse

from .conftest import assert_runs_on


@pytest.fixture
def hook(tmp_path):
    """hook(name, script): an executable file."""

    def make(name, script):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return str(path)

    return make


def with_hooks(lab, node, **keys):
    lines = "".join(f'{key} = {value if isinstance(value, int) else repr(value)}\n' for key, value in keys.items())
    return configured(lab, node, ("[network]", f"[hooks]\n{lines}\n[network]"))


def said(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_both_hosts_are_told(lab, echo, client, hook, tmp_path):
    attached = hook("attached", f"env | grep GODWIT_ >{tmp_path}/on-target")
    detached = hook("detached", f"env | grep GODWIT_ >{tmp_path}/on-source")
    with with_hooks(lab, "node2", attached=attached), with_hooks(lab, "node1", detached=detached):
        migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()
    target, source = said(tmp_path / "on-target"), said(tmp_path / "on-source")
    assert (target["GODWIT_PHASE"], target["GODWIT_NODE"], target["GODWIT_OTHER_NODE"]) == ("attached", "node2", "node1")
    assert (source["GODWIT_PHASE"], source["GODWIT_NODE"], source["GODWIT_OTHER_NODE"]) == ("detached", "node1", "node2")
    for told in (target, source):
        assert told["GODWIT_CONTAINER"] == "echo"
        assert told["GODWIT_INTERFACES"] == "eth0"
        assert told["GODWIT_NETNS"] == "/run/netns/echo"
        assert {"eth0=10.99.2.11/16", "eth0=fd00:99::2:11/64"} <= set(told["GODWIT_ADDRESSES"].split())
    assert "hook" not in " ".join(migration.report["notes"])


def test_a_hook_that_fails_is_a_note(lab, echo, client, hook):
    failing = hook("failing", "echo the controller does not answer >&2; exit 3")
    with with_hooks(lab, "node2", attached=failing), with_hooks(lab, "node1", detached=failing):
        migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()
    notes = " ".join(migration.report["notes"])
    for key, node in (("attached", "node2"), ("detached", "node1")):
        assert f"the hook hooks.{key} on {node} failed: exit status 3: the controller does not answer" in notes
    assert client.mark("after")["requests"] > 0


def test_a_hook_that_hangs_is_killed_with_what_it_started(lab, echo, client, hook):
    hanging = hook("hanging", "sleep 1000 & wait")
    with with_hooks(lab, "node2", attached=hanging, timeout_s=1):
        migration = migrate(lab, echo, "node2")
    assert migration.migrated, migration.why()
    assert "did not finish within 1000 ms and was killed" in " ".join(migration.report["notes"])
    assert migration.report["downtime_ms"] < 1000  # nobody waits for it


@pytest.mark.parametrize("node, key", [("node1", "detached"), ("node2", "attached")])
def test_a_missing_hook_is_found_before_anything_is_touched(lab, echo, node, key):
    with with_hooks(lab, node, **{key: "/no/such/hook"}):
        assert_both_refuse(lab, echo, "node2", "hooks", f"{node}: hooks.{key} in its godwit.toml is /no/such/hook")


def test_the_source_is_told_of_a_rollback(lab, echo, client, hook, tmp_path):
    rolled_back = hook("rolled_back", f"env | grep GODWIT_ >{tmp_path}/told")
    with with_hooks(lab, "node1", rolled_back=rolled_back):
        with begin(lab, echo, "node2", mode="cold") as ongoing:
            ongoing.await_phase("dump")
            lab.agent("node2", "kill")
            migration = ongoing.result()
        lab.agent("node2", "start")
    assert migration.status == 3, migration.why()
    assert said(tmp_path / "told")["GODWIT_PHASE"] == "rolled_back"
    assert_runs_on(lab, echo, "node1", not_on="node2")
