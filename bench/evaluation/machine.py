"""The machine: what it is, what its kernel cannot do, and whether there is room for an experiment."""

import ctypes
import mmap
import os
import pathlib
import platform
import subprocess
import time

from tests.support.paths import BUILD, ROOT

MIB = 1 << 20
CRIU = "/opt/godwit/criu/bin/criu"  # what the lab's hosts find first, where tools/criu-fit had to bring one
# Of the machine itself and of what else runs on it.
RESERVE_MIB = 1024


def describe():
    memory = _meminfo()
    return {
        "date": time.strftime("%F %T %Z"),
        "kernel": platform.release(),
        "distribution": _distribution(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "emulated": "TCG" in _processor(),  # by QEMU: every instruction
        "machines": 2 if "GODWIT_PAIR" in os.environ else 1,  # of this kind: tests/support/machine_pair.py
        "memory_mib": memory["MemTotal"] // 1024,
        "soft_dirty": has_soft_dirty(),
        "netem": has_netem(),
        "versions": {
            "godwit": _said([str(BUILD / "bin" / "godwit"), "--version"]),
            "commit": _said(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]),
            "runc": _said(["runc", "--version"]),
            "criu": _said([CRIU if os.path.exists(CRIU) else "criu", "--version"]),
            "podman": _said(["podman", "--version"]),
        },
    }


def has_soft_dirty():
    """Whether the kernel notes which pages were written (CONFIG_MEM_SOFT_DIRTY), which CRIU's pre-copy builds on: a page
    that is written after the notes were cleared must be noted again. Admin-guide/mm/soft-dirty of the kernel."""
    with mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        page[0] = 1
        address = ctypes.addressof(anchor := ctypes.c_char.from_buffer(page))
        try:
            pathlib.Path("/proc/self/clear_refs").write_text("4")
            before = _soft_dirty_bit(address)
            page[0] = 2
            return not before and _soft_dirty_bit(address)
        except OSError:
            return False
        finally:
            del anchor


def _soft_dirty_bit(address):
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(address // mmap.PAGESIZE * 8)
        return bool(int.from_bytes(file.read(8), "little") >> 55 & 1)


def has_netem():
    """Whether the kernel can delay packets (sch_netem); tried in a network namespace of its own."""
    command = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    return subprocess.run(command, capture_output=True).returncode == 0


def no_room(cell, memory_mib, processes):
    """Why the cell's experiment does not fit here; None if it does. Beside the program there are, at their peak, its
    images on the source and on the target, and the restored program."""
    needed = 4 * memory_mib + RESERVE_MIB
    available = _meminfo()["MemAvailable"] // 1024
    if needed > available:
        return f"needs {needed} MiB of memory, {available} MiB are available"
    if processes > os.cpu_count():
        return f"needs {processes} processors, there are {os.cpu_count()}"
    if "runc-disk" in cell.methods:
        space = os.statvfs("/var/tmp")
        free = space.f_bavail * space.f_frsize // MIB
        if 2 * memory_mib + RESERVE_MIB > free:
            return f"needs {2 * memory_mib + RESERVE_MIB} MiB of disk, {free} MiB are free"
    return None


def _meminfo():
    """In KiB."""
    with open("/proc/meminfo") as file:
        return {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in file)}


def _distribution():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "unknown"


def _processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(command):
    try:
        done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None
