"""Before and after, the container is an ordinary one of runC's: on the host it is on, and on no other."""

import json

from tests.support import container as containers
from tests.support.migration import migrate


def names(lab, node):
    return [entry["id"] for entry in json.loads(lab.exec(node, "runc", "list", "--format", "json").stdout) or []]


def test_runc_lists_it_on_the_target_only(lab, echo, client, there_and_back):
    def on_one_host(_):
        assert [node for node in lab.nodes if echo.name in names(lab, node)] == [echo.node]

    there_and_back(echo, on_one_host)


def test_runc_exec_runs_in_it_on_the_target(lab, keep, there_and_back):
    idle = keep(containers.start(lab, "node1", "idle", "10.99.2.20", ["/bin/sleep", "1000"],
                                 rootfs=containers.busybox_rootfs()))

    def exec_works(_):
        said = lab.exec(idle.node, "runc", "exec", idle.name, "/bin/sh", "-c", "hostname; ps")
        assert said.stdout.startswith("idle\n") and "sleep 1000" in said.stdout

    there_and_back(idle, exec_works)


def test_runc_kill_and_delete_end_it_on_the_target(lab, echo):
    assert migrate(lab, echo, "node2").migrated
    lab.exec("node2", "runc", "kill", echo.name, "KILL")
    lab.exec("node2", "runc", "delete", "--force", echo.name)
    assert echo.status(lab, "node2") is None


def test_container_made_by_create_and_start_moves(lab, keep, there_and_back):
    container = keep(containers.prepare(lab, "node1", "started", "10.99.2.21", ["/bin/sleep", "1000"],
                                        rootfs=containers.busybox_rootfs()))
    containers.create(lab, "node1", container.name, container.bundle)
    lab.exec("node1", "runc", "start", container.name)
    there_and_back(container)
