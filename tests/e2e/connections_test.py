"""A client's connections do not notice that the container they lead to is on another host now."""

from tests.support import client as clients
from tests.support import container as containers
from tests.support.churn import Churn
from tests.support.conversation import Conversation
from tests.support.lab import CLIENT

from .conftest import ECHO_V6

GAP_BEYOND_DOWNTIME_MS_MAX = 250  # loose: the bench measures it


def test_connections_over_both_families_go_on_there_and_back(lab, echo, client, there_and_back):
    with clients.echo_client(lab.prefix(CLIENT), host=ECHO_V6, port=containers.ECHO_PORT) as over_v6:
        for each in (client, over_v6):
            each.mark("before")

        def gap_is_the_downtime(migration):
            for each in (client, over_v6):
                during = each.mark("during")
                assert during["requests"] > 0
                assert during["max_latency_ms"] <= migration.report["downtime_ms"] + GAP_BEYOND_DOWNTIME_MS_MAX
                each.mark("after")

        there_and_back(echo, gap_is_the_downtime)
        over_v6.stop()


def test_idle_connection_still_answers_afterwards(lab, echo, there_and_back):
    with Conversation(lab, echo.address, containers.ECHO_PORT) as idle:
        assert idle.ask("one") == "1 one"
        there_and_back(echo)
        assert idle.ask("two") == "2 two"


def test_new_connections_are_accepted_on_the_target(lab, echo, there_and_back):
    def a_new_one_works(_):
        with Conversation(lab, echo.address, containers.ECHO_PORT) as new:
            assert new.ask("verify") == "ok"

    there_and_back(echo, a_new_one_works)


def test_connections_that_come_and_go_all_the_time(lab, echo, there_and_back):
    with Churn(lab, echo.address, containers.ECHO_PORT, threads=2) as churn:
        for _ in range(3):
            there_and_back(echo)
        result = churn.end()
    assert result["errors"] == {} and result["connections"] > 100, result
