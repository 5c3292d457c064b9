"""The steps of a migration, and how one is made to stand in each of them until Scene.go_on().

A step is held from outside: by a runC that waits, a stopped CRIU, a link that loses the next message, or too little
bandwidth. The migration goes from node1 to node2.
"""

import dataclasses

# Memory goes so slowly that a step lasts for seconds.
SLOW = ["--bandwidth-max", "10MB/s"]
CONTROL = "tcp dport 7410"
ANSWERS = "tcp sport 7410"


def connect(scene):
    """The target's agent does not answer yet."""
    scene.drop("node1", "output", CONTROL)
    scene.begin()
    scene.ongoing.await_phase("connect")


def check(scene):
    """The target judges."""
    scene.close_gate("node2", "--version")
    scene.begin()
    scene.ongoing.await_phase("check")
    scene.await_process("node2", "--version")


def prepare(scene):
    """CRIU is ready on the source; runC has been started on the target."""
    scene.close_gate("node2", "restore")
    scene.begin()
    scene.await_process("node2", "restore")


def rounds(scene):
    """Memory is sent while the container runs."""
    scene.begin(*SLOW, "--no-throttle")
    scene.ongoing.await_phase("rounds")


def dump(scene):
    """CRIU has the tasks, or will have them next."""
    scene.begin()
    scene.ongoing.await_phase("rounds")
    go_on = scene.stop_criu("node1")
    scene.ongoing.await_phase("dump")
    return go_on


def restore(scene):
    """All is dumped; the target's CRIU has not begun."""
    dumping = dump(scene)
    go_on = scene.stop_criu("node2")
    dumping()
    scene.ongoing.await_phase("restore")
    return go_on


def transfer(scene):
    """All is restored, and stands still until the last page has come."""
    scene.begin(*SLOW)
    scene.await_file("node2", f"run/runc/{scene.container.name}/state.json")


def commit(scene):
    """The Commit is sent and has not come."""
    restoring = restore(scene)
    delivered = scene.drop("node1", "output", CONTROL)
    restoring()
    scene.ongoing.await_phase("resume")
    return delivered


def committed(scene):
    """The container runs on the target; the source does not know."""
    delivered = commit(scene)
    scene.drop("node2", "output", ANSWERS)
    delivered()
    scene.await_file("node2", "var/lib/godwit/journal/target-*", has="\ncommitted ")


def pages(scene):
    """The container runs on the target, and much of its memory is on the source."""
    scene.begin(*SLOW, "--timeout", "0.3s")
    scene.ongoing.await_phase("pages")


def clean_up(scene):
    """All memory is on the target; CRIU on the source does not end."""
    scene.begin()
    scene.ongoing.await_phase("resume")
    scene.stop_criu("node1")
    scene.ongoing.await_phase("clean-up")


ALL = ("cold", "precopy", "hybrid", "postcopy")


@dataclasses.dataclass(frozen=True)
class Step:
    reach: object
    modes: tuple  # in which it exists, and differs
    one_mode: str  # for faults that need no more


STEPS = {
    "connect": Step(connect, ("cold",), "cold"),
    "check": Step(check, ("cold",), "cold"),
    "prepare": Step(prepare, ("cold", "hybrid"), "hybrid"),
    "rounds": Step(rounds, ("precopy", "hybrid"), "precopy"),
    "dump": Step(dump, ALL, "hybrid"),
    "restore": Step(restore, ALL, "cold"),
    "transfer": Step(transfer, ("cold",), "cold"),
    "commit": Step(commit, ALL, "precopy"),
    "committed": Step(committed, ("cold", "postcopy"), "cold"),
    "pages": Step(pages, ("hybrid", "postcopy"), "postcopy"),
    "clean-up": Step(clean_up, ("cold", "postcopy"), "postcopy"),
}
BEFORE = ("connect", "check", "prepare", "rounds", "dump", "restore", "transfer")  # the commit
AFTER = ("committed", "pages", "clean-up")
