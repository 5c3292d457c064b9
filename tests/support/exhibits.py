"""Sockets to move: an exhibit is a generator that makes sockets in a container (home) and on the client (away), yields
while the container moves, and then checks that they are what they were."""

import contextlib
import dataclasses

from . import container as containers
from .migration import begin, migrate
from .socket_zoo import PORT, Zoo, container_zoo, host_zoo, inet

V4, V6 = "10.99.2.61", "fd00:99::2:61"
CLIENT_V4, CLIENT_V6 = "10.99.0.2", "fd00:99::2"
# Beside what tools/bundle gives: ports below 1024 are not needed, raw and packet sockets, groups of netlink are.
CAPABILITIES = ["CAP_NET_RAW", "CAP_NET_ADMIN"]


@dataclasses.dataclass
class Scene:
    lab: object
    home: Zoo
    away: Zoo
    port: int  # a free one, and the ten after it
    container: object = None

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)

    def connection(self, here=V4, port=None, **how):
        """(the container's end, the client's end) of a connection that the client made; HOW of Zoo.connected."""
        port = port or self.port
        listener = self.home.listener("::" if ":" in here else "0.0.0.0", port)
        there = self.away.connected(here, port, **how)
        accepted = listener.accept()
        listener.close()
        return accepted, there

    def mapped_connection(self):
        """(listener, the container's end, the client's end): a socket of IPv6 with a peer of IPv4."""
        listener = self.home.listener("::", self.port)
        away = self.away.connected(V4, self.port)
        home = listener.accept()
        assert home.peer() == inet(f"::ffff:{CLIENT_V4}", away.local_port())
        return listener, home, away


def start_zoo(lab, node="node1", name="zoo", address=V4, also=(f"{V6}/64",), edit_more=None):
    """The root file system is one that a container's own root can reach: the repository may be below /root."""
    def edit(config):
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient"):
            held = config["process"]["capabilities"].setdefault(kind, [])
            held += [capability for capability in CAPABILITIES if capability not in held]
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}]
        if edit_more:
            edit_more(config)

    container = containers.start(lab, node, name, address, ["/opt/socket_zoo", "--port", str(PORT)],
                                 rootfs=containers.busybox_rootfs(), also=also, edit=edit,
                                 options=containers.workloads_at("/opt"))
    lab.await_port(address, PORT)
    return container


def failures_of_moving(lab, container, exhibits, targets):
    """Arranges all, moves the container to each of TARGETS in turn, checks all: {exhibit: what went wrong}."""
    def move():
        for target in targets:
            result = migrate(lab, container, target)
            assert result.migrated, result.why()

    return _failures(lab, container, exhibits, move)


def failures_of_staying(lab, container, exhibits, target):
    """The same with a migration that is cancelled when all has been dumped."""
    def roll_back():
        with begin(lab, container, target) as ongoing:
            ongoing.await_phase("restore")
            ongoing.interrupt()
            result = ongoing.result()
        assert result.status == 3, result

    return _failures(lab, container, exhibits, roll_back)


def _failures(lab, container, exhibits, between):
    failures, arranged = {}, []
    with container_zoo(lab, container) as home, host_zoo(lab) as away:
        for number, exhibit in enumerate(exhibits):
            running = exhibit(Scene(lab, home, away, 7100 + 10 * number, container))
            next(running)
            arranged.append((exhibit.__name__, running))
        between()
        for name, running in arranged:
            try:
                with contextlib.suppress(StopIteration):
                    next(running)
            except (AssertionError, OSError) as error:
                failures[name] = f"{type(error).__name__}: {error}"
    return failures
