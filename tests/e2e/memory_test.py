"""Memory that is written all the time arrives whole: the workload knows what every page must hold."""

import pytest

from tests.support import container as containers
from tests.support.conversation import Conversation


@pytest.mark.parametrize("flags", [{"threads": 1}, {"threads": 4, "rate_mib": 50}], ids=["full-speed", "four-threads"])
def test_every_page_has_its_last_write(lab, keep, there_and_back, flags):
    writer = keep(containers.start_memory_writer(lab, "node1", size_mib=64, **flags))
    with Conversation(lab, writer.address, containers.MEMORY_WRITER_PORT) as verifier:
        assert verifier.ask("verify").startswith("ok ")

        def all_pages_are_right(migration):
            assert verifier.ask("verify").startswith("ok ")
            assert migration.report["bytes_sent"] > 64 << 20

        there_and_back(writer, all_pages_are_right)
        writes = [int(verifier.ask("stat").split()[1]) for _ in range(2)]
        assert writes[1] >= writes[0] > 0
