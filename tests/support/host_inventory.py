"""Run on a host (tools/lab exec HOST -- python3 host_inventory.py): prints what exists there that a migration could
leave behind, as JSON: {kind: [item…]}. Only the standard library: it runs by itself."""

import json
import os
import subprocess

# CRIU's record of what the kernel can do; made by whoever runs CRIU first, of use to the next.
CACHES = {"/run/criu.kdat"}
# A directory that runC makes and keeps; what is in it counts.
KEPT_DIRECTORIES = {"/run/runc"}
# `ip netns add` makes its directory a mount point of its own the first time, for good.
KEPT_MOUNTS = {"/run/netns tmpfs"}


def links():
    said = subprocess.run(["ip", "-json", "link"], stdout=subprocess.PIPE, check=True).stdout
    return [link["ifname"] + (f" in {link['master']}" if "master" in link else "") for link in json.loads(said)]


def mounts():
    with open("/proc/self/mountinfo") as file:
        found = [f"{fields[4]} {fields[fields.index('-') + 1]}" for fields in map(str.split, file)]
    return [mount for mount in found if mount not in KEPT_MOUNTS]


def files(top):
    found = []
    for directory, names, file_names in os.walk(top):
        paths = [os.path.join(directory, name) for name in names + file_names]
        found += [path for path in paths if path not in CACHES | KEPT_DIRECTORIES]
    return found


def cgroups():
    top = "/sys/fs/cgroup"
    return [directory for directory, names, _ in os.walk(top)
            if os.path.exists(os.path.join(directory, "cgroup.procs"))]


def processes():
    """Of this host: those in its cgroups, whatever their namespaces."""
    pids = set()
    for group in cgroups():
        with open(os.path.join(group, "cgroup.procs")) as file:
            pids |= set(file.read().split())
    pids -= {"0", str(os.getpid())}
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except FileNotFoundError:
            continue
        if command and command != "ip -json link":
            found.append(f"{pid} {command}")
    return found


def firewall():
    try:
        said = subprocess.run(["nft", "list", "ruleset"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return said.stdout.decode().splitlines()
    except FileNotFoundError:
        return []


def main():
    inventory = {
        "network namespace": os.listdir("/run/netns"),
        "link": links(),
        "mount": mounts(),
        "file": files("/run") + files("/var/lib/godwit"),
        "cgroup": cgroups(),
        "process": processes(),
        "firewall rule": firewall(),
    }
    print(json.dumps({kind: sorted(items) for kind, items in inventory.items()}))


main()
