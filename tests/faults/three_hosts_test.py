"""Two containers with connections between them move among three hosts; with two: tests/e2e/both_ends_test.py."""

import pytest

from tests.support.pair import move, move_both

pytestmark = pytest.mark.fast


def test_neighbours_leave_for_different_hosts_at_the_same_moment(lab, pair_on):
    pair = pair_on("node1", "node1")
    move_both(lab, pair, "node2", "node3")
    pair.assert_complete()


def test_they_come_from_different_hosts_to_one_at_the_same_moment(lab, pair_on):
    pair = pair_on("node1", "node2")
    move_both(lab, pair, "node3", "node3")
    pair.assert_connected()
    move_both(lab, pair, "node2", "node1")
    pair.assert_complete()


def test_neighbours_leave_for_different_hosts_one_after_the_other(lab, pair_on):
    """Each talks to one on a host that is neither its old one nor its new one, in the end."""
    pair = pair_on("node1", "node1")
    left, right = pair.containers
    move(lab, left, "node2")
    pair.assert_connected()
    move(lab, right, "node3")
    pair.assert_connected()
    move(lab, left, "node1")
    pair.assert_complete()
