"""Memory that is not private and anonymous arrives, is still shared by its processes, and is not the freeze's burden."""

import pytest

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.conversation import Conversation
from tests.support.migration import begin, migrate

MIB = 1 << 20
MODES = ["cold", "precopy", "postcopy", "hybrid"]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_memory_arrives_and_stays_shared(lab, keep, mode):
    checker = keep(containers.start_checker(lab, "node1", "shm_checker", processes=3, rate=4 << 20))
    with Checker(lab, checker) as memory:
        before = memory.assert_right()
        for target in ("node2", "node1"):
            migration = migrate(lab, checker, target, mode=mode)
            assert migration.migrated, migration.why()
            after = memory.assert_right()
            assert after["areas"] == before["areas"]
            if mode != "cold":  # what stays in the freeze is named
                assert migration.report["figures"]["shared_frozen_bytes"] > 0
                assert migration.report["figures"]["shared_frozen_ms"] > 0
            assert after["writes"] > before["writes"]


def test_shared_memory_travels_while_the_container_runs(lab, keep):
    """And in the freeze no more than what was written last."""
    writer = keep(containers.start_memory_writer(lab, "node1", size_mib=128, rate_mib=4, shared=1))
    with Conversation(lab, writer.address, containers.MEMORY_WRITER_PORT) as verifier:
        assert verifier.ask("verify").startswith("ok ")
        for target in ("node2", "node1"):
            migration = migrate(lab, writer, target, mode="hybrid")
            assert migration.migrated, migration.why()
            figures = migration.report["figures"]
            assert figures["shared_bytes"] > 128 * MIB
            assert figures["shared_frozen_bytes"] < MIB
            assert figures["tmpfs_frozen_bytes"] < 32 * MIB
            assert verifier.ask("verify").startswith("ok ")


def test_a_cancelled_migration_leaves_shared_memory_as_it_is(lab, keep, slow_link):
    checker = keep(containers.start_checker(lab, "node1", "shm_checker", processes=3, rate=4 << 20))
    with Checker(lab, checker) as memory:
        before = memory.assert_right()
        with begin(lab, checker, "node2", mode="hybrid") as ongoing:
            ongoing.await_phase("rounds")
            ongoing.interrupt()
            assert ongoing.result().status == 3
        assert memory.assert_right()["writes"] > before["writes"]
        lab.link("node2", "--rate", "off")
        migration = migrate(lab, checker, "node2", mode="hybrid")
        assert migration.migrated, migration.why()
        memory.assert_right()
