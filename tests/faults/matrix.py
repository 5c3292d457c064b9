"""Which fault is done in which step of a migration, in which mode, and where the container may be afterwards.

Where: "node1" (the source), "node2" (the target): it runs there and nowhere else, all of its memory right, its
connection whole. "ended": it has ended, as it was told to. "frozen": memory is owed and an agent that it needs was
killed; the source's copy stands still, both hosts say so, and an operator's word brings it to run. Two of them: which
one is a matter of milliseconds or of the mode, and both are right.
"""

import dataclasses

from . import breakage as do
from .steps import AFTER, BEFORE, STEPS

BACK, THERE, ENDED, FROZEN = frozenset({"node1"}), frozenset({"node2"}), frozenset({"ended"}), frozenset({"frozen"})
EITHER = BACK | THERE
# Steps with processes of runC and CRIU to kill, on the source and on the target.
DUMPING = ("prepare", "rounds", "dump", "restore", "transfer", "commit", "committed", "pages", "clean-up")
RESTORING = ("rounds", "dump", "restore", "transfer", "commit")
LINKED = tuple(step for step in STEPS if step not in ("connect", "check"))


@dataclasses.dataclass(frozen=True)
class Fault:
    do: object
    ends: dict  # where, by step: exactly the steps in which it is done
    modes: int = 1  # at most so many of those that the step has

    def modes_in(self, step):
        how = STEPS[step]
        if self.modes == 1:
            return (how.one_mode,)
        return how.modes if len(how.modes) <= self.modes else how.modes[::len(how.modes) // self.modes]


def ends(before=None, commit=None, after=None, only=None, **exceptions):
    """Steps before the commit, with the Commit on its way, and after it; of these ONLY some; but for EXCEPTIONS
    (clean_up for clean-up)."""
    found = {step: before for step in BEFORE} | {"commit": commit} | {step: after for step in AFTER}
    found = {step: where for step, where in found.items() if where and (only is None or step in only)}
    return found | {step.replace("_", "-"): where for step, where in exceptions.items()}


FAULTS = {
    "source agent killed": Fault(do.kill_agent("node1"), ends(BACK, EITHER | FROZEN, THERE | FROZEN, pages=THERE),
                                 modes=4),
    "target agent killed": Fault(do.kill_agent("node2"), ends(BACK, EITHER | FROZEN, THERE | FROZEN, connect=EITHER,
                                                              pages=THERE), modes=4),
    "source CRIU killed": Fault(do.criu("node1"), ends(BACK, THERE, THERE, only=DUMPING), modes=2),
    "source runC killed": Fault(do.runc("node1", "checkpoint"), ends(BACK, THERE, THERE, only=DUMPING), modes=2),
    "target CRIU killed": Fault(do.criu("node2"), ends(BACK, BACK, only=RESTORING), modes=2),
    "target runC killed": Fault(do.runc("node2", "restore"), ends(BACK, BACK, only=("prepare", *RESTORING)),
                                modes=2),
    "godwit-pager killed": Fault(do.program("godwit-pager"), ends(BACK, BACK, THERE, only=(
        "prepare", "rounds", "dump", "restore", "transfer", "commit", "committed", "pages")), modes=2),
    "memory_keeper killed": Fault(do.program("memory_keeper"), ends(EITHER, EITHER, THERE, only=(
        "prepare", "rounds", "dump", "restore", "transfer", "commit", "pages"))),
    "source agent stopped for 2 s": Fault(do.stop_agent("node1"), ends(THERE, THERE, THERE)),
    "target agent stopped for 2 s": Fault(do.stop_agent("node2"), ends(THERE, THERE, THERE)),
    "target agent stopped for a minute": Fault(do.stop_agent("node2", 60), ends(BACK, only=("rounds",))),
    "link cut": Fault(do.cut, ends(BACK, EITHER, THERE, only=LINKED)),
    "link cut for 1 s": Fault(do.cut_for_a_moment, ends(THERE, THERE, THERE)),
    "link half-open, target deaf": Fault(do.half_open("node2"), ends(BACK, EITHER, THERE, only=(
        "rounds", "restore", "commit", "committed", "pages"))),
    "link half-open, source deaf": Fault(do.half_open("node1"), ends(BACK, EITHER, THERE, only=(
        "rounds", "restore", "commit", "committed", "pages"))),
    "link slow": Fault(do.slow, ends(THERE, THERE, THERE, only=(
        "connect", "prepare", "rounds", "dump", "restore", "commit", "pages"))),
    "/run of the source full": Fault(do.full("node1", "/run"), ends(EITHER, THERE, THERE, only=(
        "connect", "rounds", "dump", "commit", "pages"))),
    "/run of the target full": Fault(do.full("node2", "/run"), ends(EITHER, EITHER, THERE, only=(
        "connect", "prepare", "rounds", "restore", "commit", "pages"), connect=BACK)),
    "journal of the source full": Fault(do.full("node1", "/var/lib/godwit"), ends(BACK, only=("connect",))),
    "journal of the target full": Fault(do.full("node2", "/var/lib/godwit"), ends(BACK, only=("connect",))),
    "target out of memory": Fault(do.little_memory("node2"), ends(BACK, only=("connect", "rounds", "transfer"))),
    "container exits": Fault(do.exits, ends(ENDED, after=ENDED, only=("check", "prepare", "rounds", "pages"))),
    "container killed": Fault(do.killed, ends(ENDED, after=ENDED, only=(
        "check", "prepare", "rounds", "pages"), dump=ENDED | THERE, restore=ENDED | THERE)),
    "container deleted": Fault(do.deleted, ends(ENDED, after=ENDED, only=(
        "check", "prepare", "rounds", "pages"), dump=ENDED | THERE, restore=ENDED | THERE)),
    "container paused": Fault(do.paused, ends(EITHER, only=("check", "prepare", "rounds"))),
    "asked again, to the same host": Fault(do.second("node2"), ends(THERE, THERE, THERE)),
    "asked again, to a third host": Fault(do.second("node3"), ends(THERE, THERE, THERE, only=(
        "connect", "rounds", "restore", "commit", "pages"))),
    "another comes the other way": Fault(do.other_way, ends(THERE, THERE, THERE, only=(
        "prepare", "rounds", "dump", "restore", "pages"))),
    "^C": Fault(do.interrupt, ends(BACK, THERE, THERE)),
    "godwit cancel": Fault(do.cancel, ends(BACK, THERE, THERE, only=(
        "connect", "check", "prepare", "rounds", "dump", "restore", "commit", "committed", "pages", "clean-up"))),
}

# Steps that a fault leaves out, and why, where the table alone does not say it.
LEFT_OUT = {
    "freeze": "is not a step of its own here: it takes 3 ms and cannot be held. What is true of it is true of rounds before "
              "it and of dump after it; the model has it",
    "CRIU or runC killed": "where they do not run: on the source before prepare, on the target CRIU before rounds (runC "
                           "starts it last), and both once the container runs there, when they have ended",
    "memory_keeper killed": "before prepare, and after the last page, it does not run; committed is as pages",
    "godwit-pager killed": "the same: it ends when the target has told the source of the last page",
    "link cut, half-open": "connect and check: nothing has been taken, and bad_peer_test.py has the messages",
    "link slow": "check, transfer, committed, clean-up: nothing, or nothing else, is sent then",
    "full /run, journal": "the journal writes its record once, before the freeze; its later lines fit into the page that "
                          "it has. Images have a tmpfs of their own (limits.image_bytes_max)",
    "target out of memory": "after the commit the container's own memory counts, and the kernel may end the container: "
                            "that is lost, as it would be without a migration. Little is taken in the other steps",
    "container exits, is paused": "while it is frozen it does nothing, and cannot be paused; at the commit and after it "
                                  "the container on the target is one of runC's, and nobody else's concern, but for pages",
    "asked again, to a third host": "the same refusal as to the same host",
    "clock jumps": "no decision reads the wall clock: all deadlines are on the monotonic clock, which a time namespace "
                   "shifts only at its making. Certificates are checked by the wall clock: bad_peer_test.py",
    "connections reordered": "each data connection has its own thread, and the order among them is another in each run; "
                             "the kernel of this machine has no netem to do it on purpose",
}

# `make test`: some 40 s.
FAST = {("rounds", "source agent killed", "precopy"), ("restore", "target agent killed", "hybrid"),
        ("dump", "source CRIU killed", "cold"), ("commit", "source agent killed", "precopy"), ("pages", "godwit-pager killed", "hybrid"),
        ("committed", "link cut for 1 s", "cold"), ("rounds", "container killed", "precopy"),
        ("connect", "journal of the target full", "cold")}
SLOW = {"target agent stopped for a minute"}


def cells():
    """(step, fault, mode) of each, step by step."""
    for step in STEPS:
        for name, fault in FAULTS.items():
            if step in fault.ends:
                for mode in fault.modes_in(step):
                    yield step, name, mode
