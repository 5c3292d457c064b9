"""Whether downtime grows with what is in /dev/shm: a container with 1 GiB there and one with nothing, moved in turn."""

from tests.support import container as containers
from tests.support import table

from .memory_common import GIB, MIB, BenchError, median, move

TITLE = "1 GiB in /dev/shm and none, in turn"
SIZES = {"none": 0, "1 GiB": GIB}


def run(lab, options):
    made = {name: _start(lab, size, index) for index, (name, size) in enumerate(SIZES.items())}
    reports = {name: [] for name in SIZES}
    for number in range(options.repeat):
        for name in list(SIZES) if number % 2 == 0 else reversed(SIZES):
            reports[name].append(move(lab, made[name], options.mode).report)
            options.say(f"{number + 1}/{options.repeat} {name}: downtime {reports[name][-1]['downtime_ms']:.1f} ms")
    for name, container in made.items():
        if SIZES[name] and "OK" not in _shell(lab, container, "md5sum -c /dev/shm/sum"):
            raise BenchError("the files in /dev/shm are not what they were")
        container.remove(lab)
    downtimes = {name: [report["downtime_ms"] for report in reports[name]] for name in SIZES}
    medians = {name: median(values) for name, values in downtimes.items()}
    frozen = median([report["figures"]["tmpfs_frozen_ms"] for report in reports["1 GiB"]])
    return {"downtimes_ms": downtimes, "medians_ms": medians, "ratio": medians["1 GiB"] / medians["none"],
            "frozen_ms": frozen, "reports": reports}


def show(result):
    rows = [[f"downtime, {name}", table.ms(value)] for name, value in result["medians_ms"].items()]
    return table.render([*rows, ["ratio", f"{result['ratio']:.2f}"],
                         ["files looked at in the freeze", table.ms(result["frozen_ms"])]], ["", "median"])


def _start(lab, size, index):
    container = containers.start(lab, "node1", f"tmpfs{size // MIB}", f"10.99.2.{70 + index}",
                                 ["/bin/sh", "-c", "while :; do sleep 1; done"], rootfs=containers.busybox_rootfs(),
                                 edit=_with_room)
    if size:
        _shell(lab, container, f"dd if=/dev/urandom of=/dev/shm/file bs=1M count={size // MIB} 2>/dev/null;"
                               "md5sum /dev/shm/file > /dev/shm/sum")
    return container


def _with_room(config):
    for mount in config["mounts"]:
        if mount["destination"] == "/dev/shm":
            mount["options"] = [option for option in mount["options"] if not option.startswith("size=")] + ["size=2g"]


def _shell(lab, container, script):
    return lab.exec(container.node, "runc", "exec", container.name, "/bin/sh", "-c", script).stdout
