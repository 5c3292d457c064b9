"""podman on the lab's hosts: each has a storage of its own, with the image in it, on the machine's disk, where podman has
it by default."""

import os
import pathlib
import shutil

from tests.support import container as containers

STORAGE = pathlib.Path(f"/var/tmp/godwit-evaluation-podman-{os.getpid()}")
_LOCKS = pathlib.Path("/dev/shm/libpod_lock")  # podman's, and it leaves it
_LOCKS_WERE_THERE = _LOCKS.exists()
_started = set()  # names of containers that podman may have
IMAGE = "localhost/godwit-redis"
# runC's default for podman's limits needs CAP_SYS_RESOURCE, which root has not in every virtual machine.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


def command(node):
    """vfs, so that nothing has to be mounted in the host's namespace; no daemon, no journal."""
    return ["podman", "--root", str(STORAGE / node), "--runroot", "/run/godwit-podman", "--runtime", shutil.which("runc"),
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]


def script_environment():
    return {"PODMAN": " ".join(command("%NODE%"))}


def start_redis(lab, node, name, address, rootfs):
    _started.add(name)
    for each in lab.nodes:
        _provide_image(lab, each, rootfs)
    lab.netns(node, name, f"{address}/{containers.SUBNET_BITS}")
    lab.exec(node, *command(node), "run", "--detach", "--name", name, "--network", f"ns:/run/netns/{name}",
             "--log-driver", "none", "--read-only", *LIMITS, IMAGE, "redis-server", "--bind", address, "--port",
             str(containers.REDIS_PORT), "--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", "/tmp")
    lab.await_port(address, containers.REDIS_PORT)
    return containers.Container(name, node, address, pathlib.Path("/"), None)


def remove(lab, name):
    """Wherever it is. podman takes long to say that it has nothing, so it is asked for its own only."""
    if name in _started:
        for node in lab.nodes:
            if (STORAGE / node).exists():
                lab.exec(node, *command(node), "rm", "--force", "--time", "0", "--ignore", name, check=False)
        _started.discard(name)


def drop_storage():
    """Once no container of it lives."""
    shutil.rmtree(STORAGE, ignore_errors=True)
    if not _LOCKS_WERE_THERE:
        _LOCKS.unlink(missing_ok=True)


def _provide_image(lab, node, rootfs):
    """The same image on all hosts: podman restores only what has the same id, and each import makes another."""
    if (STORAGE / node).exists():
        return
    if origin := next(STORAGE.glob("node*"), None):
        make = f"{' '.join(command(origin.name))} save --quiet {IMAGE} | {' '.join(command(node))} load --quiet"
    else:
        make = f"tar -C {rootfs} -c . | {' '.join(command(node))} import --quiet - {IMAGE}"
    (STORAGE / node).mkdir(parents=True)
    lab.exec(node, "bash", "-euo", "pipefail", "-c", make, timeout_s=300)
