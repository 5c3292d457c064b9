"""Containers with a user namespace: their root is nobody on the host."""

import os
import pathlib

FIRST_ID = 100_000

# Refused in every one of them, as engines do.
REFUSED = ["userfaultfd", "ptrace", "process_vm_readv", "keyctl", "bpf"]

FACTS = ("Name", "Uid", "Gid", "Groups", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs", "Threads")


def edit(config):
    """For containers.start(): a user namespace whose root is FIRST_ID, and a seccomp filter.

    The network namespace belongs to the host, so its root cannot mount a sysfs.
    """
    mapping = [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = mapping
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind] += ["CAP_CHOWN", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID"]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                        "syscalls": [{"names": REFUSED, "action": "SCMP_ACT_ERRNO"}]}
    config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/sys")]


def processes(container, lab):
    """Facts of each process that must move along, by its pid in the container. runC 1.1 cannot exec there: it enters
    the user namespace first, and then may not enter a network namespace of the host's."""
    first = container.state(lab)["pid"]
    userns = os.readlink(f"/proc/{first}/ns/user")
    found = {}
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(directory / "ns" / "user") == userns:
                status = dict(line.split(":\t", 1) for line in (directory / "status").read_text().splitlines()
                              if ":\t" in line)
                descriptors = [(int(fd.name), _kind(os.readlink(fd))) for fd in (directory / "fd").iterdir()]
                found[status["NSpid"].split()[-1]] = {
                    **{key: status[key] for key in FACTS},
                    "map": (directory / "uid_map").read_text(),
                    "descriptors": sorted(descriptors)}
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:  # not even root of the host may look into it: none of a container's
            continue
    return found


def _kind(link):
    """Numbers of sockets and pipes are others on another host."""
    return link.split(":")[0] if ":[" in link else link
