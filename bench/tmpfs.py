"""Whether downtime grows with shared memory: a container with 1 GiB in /dev/shm, one with a program that has 1 GiB of
shared anonymous memory and writes 20 MB/s to it, and for each the same without, moved in turn."""

from tests.support import container as containers
from tests.support import table
from tests.support.conversation import Conversation

from .memory_common import GIB, MIB, BenchError, median, move

TITLE = "1 GiB in /dev/shm or of shared anonymous memory, and none, in turn"
SIZES = {"none": 0, "1 GiB": GIB}
SHARED = {"none": 8, "1 GiB": 1024}  # MiB
SHARED_RATE = 20  # MiB/s


def run(lab, options):
    return {"files": _files(lab, options), "anonymous": _anonymous(lab, options)}


def _files(lab, options):
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
    return _compared(reports)


def _anonymous(lab, options):
    made = {name: containers.start_memory_writer(lab, "node1", f"shared{size}", f"10.99.2.{74 + size % 7}",
                                                 size_mib=size, rate_mib=SHARED_RATE, shared=1)
            for name, size in SHARED.items()}
    reports = {name: [] for name in SHARED}
    for number in range(options.repeat):
        for name in list(SHARED) if number % 2 == 0 else reversed(SHARED):
            reports[name].append(move(lab, made[name], options.mode).report)
            options.say(f"{number + 1}/{options.repeat} shared anonymous, {name}: "
                        f"downtime {reports[name][-1]['downtime_ms']:.1f} ms")
    for container in made.values():
        with Conversation(lab, container.address, containers.MEMORY_WRITER_PORT) as verifier:
            if not verifier.ask("verify").startswith("ok "):
                raise BenchError("shared memory is not what it was")
        container.remove(lab)
    return _compared(reports)


def _compared(reports):
    downtimes = {name: [report["downtime_ms"] for report in reports[name]] for name in reports}
    medians = {name: median(values) for name, values in downtimes.items()}
    frozen = median([report["figures"]["tmpfs_frozen_ms"] for report in reports["1 GiB"]])
    return {"downtimes_ms": downtimes, "medians_ms": medians, "ratio": medians["1 GiB"] / medians["none"],
            "frozen_ms": frozen, "reports": reports}


def show(result):
    rows = []
    for what, title in (("files", "in /dev/shm"), ("anonymous", "shared anonymous, written")):
        rows += [[f"downtime, {name} {title}", table.ms(value)] for name, value in result[what]["medians_ms"].items()]
        rows += [["ratio", f"{result[what]['ratio']:.2f}"],
                 ["looked at in the freeze", table.ms(result[what]["frozen_ms"])]]
    return table.render(rows, ["", "median"])


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
