"""How fast pages that have arrived are installed in the background, against first touch of fresh memory by one core: a
container that hardly writes, so that after the rounds everything is on the target."""

from tests.support import table

from .memory_common import GIB, first_touch_rate, median, move, other_node, start, warm_free_memory

TITLE = "background fill of 2 GiB"
SIZE = 2 * GIB


def run(lab, options):
    container = start(lab, "page_checker", bytes=SIZE, rate=4096, check=0)
    rates, touches = [], []
    for number in range(1, options.repeat + 1):
        target = other_node(container.node)
        touches.append(first_touch_rate(lab, target, SIZE))
        warm_free_memory(lab, target, 2 * SIZE)
        report = move(lab, container, "hybrid").report
        fill_ms = report["figures"].get("target_fill_ms") or report["postcopy"]["ms"]
        rates.append(SIZE * 1000 / fill_ms)
        options.say(f"{number}/{options.repeat}: {rates[-1] / 1e6:.0f} MB/s, fresh memory {touches[-1] / 1e6:.0f}")
    container.remove(lab)
    return {"rate": median(rates), "first_touch": median(touches), "ratio": median(rates) / median(touches),
            "rates": rates, "first_touches": touches}


def show(result):
    return table.render([["background fill", f"{result['rate'] / 1e6:,.0f} MB/s"],
                         ["first touch of fresh memory", f"{result['first_touch'] / 1e6:,.0f} MB/s"],
                         ["ratio (at least 0.80)", f"{result['ratio']:.2f}"]], ["", "median"])
