"""Two containers change places at the same time."""

from tests.support import client as clients
from tests.support import container as containers
from tests.support.lab import CLIENT
from tests.support.migration import begin

from .conftest import assert_runs_on


def test_two_containers_cross_each_other(lab, keep, echo, client):
    other = keep(containers.start_echo(lab, "node2", name="other", address="10.99.2.25"))
    with clients.echo_client(lab.prefix(CLIENT), host=other.address, port=containers.ECHO_PORT) as others_client:
        for echo_to, other_to in (("node2", "node1"), ("node1", "node2")):
            with begin(lab, echo, echo_to) as one, begin(lab, other, other_to) as two:
                for migration in (one.result(), two.result()):
                    assert migration.migrated, migration.why()
            assert_runs_on(lab, echo, echo_to, not_on=other_to)
            assert_runs_on(lab, other, other_to, not_on=echo_to)
        others_client.stop()
