"""Whether downtime grows with memory: a small and a large container, moved in turn."""

from tests.support import table
from tests.support.checker import Checker

from .memory_common import GIB, MIB, assert_right, median, move, start

TITLE = "64 MiB and 4 GiB, in turn"
SIZES = {"64 MiB": 64 * MIB, "4 GiB": 4 * GIB}
RATE = 20_000_000  # bytes written per second, by each


def run(lab, options):
    made = {name: start(lab, "page_checker", name=f"sized{size // MIB}", address=f"10.99.2.{60 + index}", bytes=size,
                        rate=RATE, check=0) for index, (name, size) in enumerate(SIZES.items())}
    downtimes = {name: [] for name in SIZES}
    reports = []
    for number in range(options.repeat):
        for name in list(SIZES) if number % 2 == 0 else reversed(SIZES):
            moved = move(lab, made[name], options.mode)
            downtimes[name].append(moved.report["downtime_ms"])
            reports.append({"size": name, "report": moved.report})
            options.say(f"{number + 1}/{options.repeat} {name}: downtime {moved.report['downtime_ms']:.1f} ms")
    for container in made.values():
        with Checker(lab, container) as checker:
            assert_right(checker)
        container.remove(lab)
    medians = {name: median(values) for name, values in downtimes.items()}
    return {"downtimes_ms": downtimes, "medians_ms": medians, "ratio": medians["4 GiB"] / medians["64 MiB"],
            "reports": reports}


def show(result):
    rows = [[f"downtime, {name}", table.ms(value)] for name, value in result["medians_ms"].items()]
    return table.render([*rows, ["ratio (at most 1.3)", f"{result['ratio']:.2f}"]], ["", "median"])
