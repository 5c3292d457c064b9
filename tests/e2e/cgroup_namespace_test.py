"""A container with a cgroup namespace of its own, which `runc spec` gives every container on a host with cgroup v2."""

from tests.support import container as containers


def with_cgroup_namespace(config):
    config["linux"]["namespaces"].append({"type": "cgroup"})


def namespace_of(lab, container):
    return lab.exec(container.node, "runc", "exec", container.name, "/bin/readlink", "/proc/1/ns/cgroup").stdout


def test_it_moves_and_has_one_there(lab, keep, there_and_back):
    container = keep(containers.start(lab, "node1", "own", "10.99.2.22", ["/bin/sleep", "1000"],
                                      rootfs=containers.busybox_rootfs(), edit=with_cgroup_namespace))

    def sees_itself_at_the_root(_):
        seen = lab.exec(container.node, "runc", "exec", container.name, "/bin/cat", "/proc/1/cgroup").stdout
        assert {line.split(":", 2)[2] for line in seen.splitlines()} == {"/"}, seen
        host = lab.exec(container.node, "readlink", "/proc/self/ns/cgroup").stdout
        assert namespace_of(lab, container) != host

    there_and_back(container, sees_itself_at_the_root)
