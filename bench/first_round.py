"""How fast the first round is, against two bounds measured in the same run: what the link carries (iperf3 with as many
connections) and how fast the target gets fresh memory (memset). Over the link of 1 Gbit/s iperf3 takes as long as the round:
BBR sends next to nothing for 0.2 s in each 10 s, to learn the delay. godwit takes CUBIC instead between hosts nearby; what BBR
would cost is measured as well where the kernel has it (agent.data_congestion_control)."""

from pathlib import Path

from tests.support import table
from tests.support.agent_setup import configured_everywhere

from .memory_common import GIB, first_touch_rate, iperf_rate, median, move, start, warm_free_memory

TITLE = "first round of 2 GiB"
SIZE = 2 * GIB
STREAMS = 1
SHAPED = 1e9 / 8  # bytes per second
GBIT = "1 Gbit/s"
IPERF_S = 3
CONGESTION_CONTROLS = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
PLAIN = ("data_listen", "data_encryption = false\ndata_listen")
BY_BBR = ("data_listen", 'data_congestion_control = "bbr"\ndata_listen')


def run(lab, options):
    result = {}
    with configured_everywhere(lab, PLAIN):
        by_both(lab, options, result, "plain")
        lab.link("node2", "--rate", "1gbit")
        try:
            by_both(lab, options, result, GBIT, SHAPED)
        finally:
            lab.link("node2", "--rate", "off")
    result["TLS"] = series(lab, options, "TLS")
    return result


def by_both(lab, options, result, name, link_rate=None):
    """With the lab's congestion control, which is CUBIC, and with BBR where the kernel has it."""
    result[name] = series(lab, options, name, link_rate)
    if "bbr" in CONGESTION_CONTROLS.read_text().split():
        with configured_everywhere(lab, BY_BBR):
            result[f"{name}, BBR"] = series(lab, options, f"{name}, BBR", link_rate, "bbr")


def series(lab, options, name, link_rate=None, congestion_control=None):
    """LINK_RATE: bytes per second, of a link that is shaped; the ratio is to it, and iperf3 takes as long as the round.
    CONGESTION_CONTROL: iperf3's, the host's if None."""
    iperf_s = round(SIZE / link_rate) if link_rate else IPERF_S
    container = start(lab, "page_checker", bytes=SIZE, rate=4096, check=0)
    rates, iperfs, touches = [], [], []
    for number in range(1, options.repeat + 1):
        target = "node2" if container.node == "node1" else "node1"
        touches.append(first_touch_rate(lab, target, SIZE))
        iperfs.append(iperf_rate(lab, container.node, target, STREAMS, iperf_s, congestion_control))
        # A virtual machine that gives free memory back to its host (free page reporting) stands still for moments while it
        # does, and the next two seconds or more: that would be in the whole of a slow round, which needs no fast memory.
        if not link_rate:
            warm_free_memory(lab, target, 2 * SIZE)
        moved = move(lab, container, "hybrid", "--streams", str(STREAMS), "--compress", "none")
        first = moved.report["rounds"][0]
        rates.append(first["bytes"] * 1000 / first["ms"])
        options.say(f"{number}/{options.repeat} {name}: {rates[-1] / 1e6:.0f} MB/s, iperf3 {iperfs[-1] / 1e6:.0f}, "
                    f"fresh memory {touches[-1] / 1e6:.0f}")
    container.remove(lab)
    found = {"rate": median(rates), "iperf": median(iperfs), "first_touch": median(touches), "rates": rates,
             "iperfs": iperfs, "first_touches": touches}
    found["ratio"] = found["rate"] / (link_rate or min(found["iperf"], found["first_touch"]))
    return found


def show(result):
    least = {"plain": "0.80", GBIT: "0.95 of the link's rate"}
    rows = [[name, *(f"{found[key] / 1e6:,.0f} MB/s" for key in ("rate", "iperf", "first_touch")),
             f"{found['ratio']:.2f}", least.get(name, "(reported)")] for name, found in result.items()]
    return table.render(rows, ["", "first round", "iperf3", "fresh memory", "ratio to the lower", "at least"])
