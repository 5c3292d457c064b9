"""Two containers with connections between them move, one after the other and at the same moment. With a third host:
tests/faults/three_hosts_test.py. A container that talks to itself: to_itself in sockets_tcp_test.py."""

from tests.support.pair import move, move_both


def test_one_after_the_other_they_change_places(lab, pair_on):
    """The left one talks to one on its new host first, then to one on its old host."""
    pair = pair_on("node1", "node2")
    left, right = pair.containers
    move(lab, left, "node2")
    pair.assert_connected()
    move(lab, right, "node1")
    pair.assert_complete()


def test_at_the_same_moment_they_change_places(lab, pair_on):
    pair = pair_on("node1", "node2")
    for left_target, right_target in (("node2", "node1"), ("node1", "node2")):
        move_both(lab, pair, left_target, right_target)
        pair.assert_connected()
    pair.assert_complete()


def test_neighbours_leave_their_host_together(lab, pair_on):
    pair = pair_on("node1", "node1")
    for target in ("node2", "node1"):
        move_both(lab, pair, target, target)
        pair.assert_connected()
    pair.assert_complete()


def test_a_neighbour_is_left_behind_and_comes_after(lab, pair_on):
    pair = pair_on("node1", "node1")
    left, right = pair.containers
    move(lab, left, "node2")
    pair.assert_connected()
    move(lab, right, "node2")
    pair.assert_complete()
