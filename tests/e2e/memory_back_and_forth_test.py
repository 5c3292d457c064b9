"""A container moves again and again, in whatever mode: nothing of one migration is in the way of the next."""

import random

from tests.support import container as containers
from tests.support.checker import Checker
from tests.support.migration import migrate

MOVES = 6


def test_memory_is_right_after_many_moves_in_random_modes(lab, keep):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    checker = keep(containers.start_checker(lab, "node1", "page_checker", bytes=64 << 20, threads=2, rate=50 << 20,
                                            pattern="random"))
    with Checker(lab, checker) as memory:
        for move in range(1, MOVES + 1):
            mode = chance.choice(["cold", "precopy", "postcopy", "hybrid", "auto"])
            target = "node2" if checker.node == "node1" else "node1"
            migration = migrate(lab, checker, target, mode=mode)
            assert migration.migrated, f"move {move}, {mode}: {migration.why()}"
            verdict = memory.ask("verify")
            assert verdict["ok"], f"move {move}, {mode}: {verdict}"
