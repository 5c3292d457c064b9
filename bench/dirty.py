"""Downtime of a container that writes all the time, and what its migration costs both hosts."""

import time

from tests.support import table
from tests.support.checker import Checker

from .memory_common import GIB, MIB, assert_right, median, move, quantile, start

TITLE = "2 GiB, written at 400 MB/s"
SIZE = 2 * GIB
RATE = 400_000_000


def run(lab, options):
    container = start(lab, "page_checker", bytes=SIZE, rate=RATE, check=0)
    moves = []
    with Checker(lab, container) as checker:
        # All of it is there: what comes later would count as memory of the migration.
        written = 0
        while written < SIZE // 4096:
            time.sleep(0.5)
            written += sum(checker.stats()["timeline"])
        for number in range(1, options.repeat + 1):
            checker.stats()
            moved = move(lab, container, options.mode)
            stats = checker.stats()
            assert_right(checker)
            report = moved.report
            moves.append({"downtime_ms": report["downtime_ms"], "stall_ms": stats["longest_stall_us"] / 1000,
                          "total_ms": report["total_ms"], "rounds": len(report["rounds"]),
                          "faults": report["postcopy"]["faults"], "source_extra_bytes": moved.source_extra_bytes,
                          "target_extra_bytes": moved.target_extra_bytes, "disk_bytes": moved.disk_bytes,
                          "report": report})
            options.say(f"{number}/{options.repeat}: downtime {report['downtime_ms']:.1f} ms, "
                        f"longest stall of the program {stats['longest_stall_us'] / 1000:.1f} ms")
    container.remove(lab)
    return {"moves": moves, "summary": summary(moves)}


def summary(moves):
    downtimes = [one["downtime_ms"] for one in moves]
    return {"downtime_median_ms": median(downtimes), "downtime_p99_ms": quantile(downtimes, 0.99),
            "stall_median_ms": median([one["stall_ms"] for one in moves]),
            "total_median_ms": median([one["total_ms"] for one in moves]),
            "source_extra_mib": max(one["source_extra_bytes"] for one in moves) / MIB,
            "target_over_container_mib": max(one["target_extra_bytes"] for one in moves) / MIB - SIZE / MIB,
            "disk_bytes": max(one["disk_bytes"] for one in moves)}


def show(result):
    found = result["summary"]
    rows = [["downtime", table.ms(found["downtime_median_ms"]), table.ms(found["downtime_p99_ms"]), "60 / 120 ms"],
            ["longest stall of the program", table.ms(found["stall_median_ms"]), "", ""],
            ["total time", table.ms(found["total_median_ms"]), "", ""],
            ["peak extra memory, source", f"{found['source_extra_mib']:.0f} MiB", "", "64 MiB"],
            ["peak memory above the container, target", f"{found['target_over_container_mib']:.0f} MiB", "",
             f"{0.05 * SIZE / MIB + 64:.0f} MiB"],
            ["bytes written to disk", f"{found['disk_bytes']}", "", "0"]]
    return table.render(rows, ["", "median or most", "p99", "at most"])
