"""What the tests could leave behind on the machine itself (a host of the lab: host_inventory.py, leftovers.py)."""

import json
import os
import pathlib
import subprocess

CGROUPS = pathlib.Path("/sys/fs/cgroup")
# Programs that a test starts and that shall not outlive it.
PROGRAMS = ("godwit", "criu", "runc", "redis-server")
# In them, what has a name of ours.
DIRECTORIES = ("/run", "/var/lib", "/etc", "/opt", "/dev/shm")


def network_namespaces():
    """Named ones, and those that only a process keeps."""
    named = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return named + sorted({str(link) for link in _links_of_processes("ns/net")})


def links():
    said = subprocess.run(["ip", "-json", "link"], stdout=subprocess.PIPE, check=True).stdout
    return [link["ifname"] for link in json.loads(said)]


def mounts():
    with open("/proc/self/mountinfo") as file:
        found = [f"{fields[4]} {fields[fields.index('-') + 1]}" for fields in map(str.split, file)]
    return [mount for mount in found if not mount.startswith("/run/netns ")]  # made once, for good: kernel/netns.cc


def lab_cgroups():
    return [str(path) for path in CGROUPS.glob("**/lab-*")]


def frozen_cgroups():
    """v1: freezer.state; v2: cgroup.events."""
    frozen = [path for path in CGROUPS.glob("**/freezer.state") if _read(path).strip() != "THAWED"]
    frozen += [path for path in CGROUPS.glob("**/cgroup.events") if "frozen 1" in _read(path)]
    return [str(path.parent) for path in frozen]


def processes():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        pid, name, state = path.parent.name, _read(path.parent / "comm").strip(), _read(path).rpartition(") ")[2][:1]
        if name.startswith(PROGRAMS) and state != "Z":
            found.append(f"{pid} {name}")
        elif state in ("t", "T"):
            found.append(f"{pid} {name}, stopped")
    return found


def files():
    return [str(path) for directory in DIRECTORIES for path in pathlib.Path(directory).glob("godwit*")]


def inventory():
    """{kind: items}, to be compared by leftovers.compare."""
    return {"network namespace": network_namespaces(), "link": links(), "mount": mounts(), "cgroup": lab_cgroups(),
            "frozen cgroup": frozen_cgroups(), "process": processes(), "file": files()}


def _read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:  # it has ended or been removed
        return ""


def _links_of_processes(name):
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            yield os.readlink(process / name)
        except OSError:
            pass
