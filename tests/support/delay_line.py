"""Latency for kernels without sch_netem. What nodes send into the LAN takes a way through this program, which holds each
frame for MILLISECONDS: a node's port moves from the LAN's bridge to a bridge of its own, and two TAP devices join both.
What comes from the LAN goes back over them at once.

  usage, in the LAN's namespace: delay_line.py MILLISECONDS PORT…

Says "ready" when it is in place, ends when its standard input does, and puts everything back. Frames are taken as large
as TCP makes them (TSO), with their virtio header; drivers/net/tun.c and if_tun.h of the kernel say what that needs."""

import collections
import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

_TUN = "/dev/net/tun"
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_OFFLOADS = 1 | 2 | 4 | 8  # TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN
_FRAME_BYTES = 10 + 18 + (1 << 16)  # the header, Ethernet's with a VLAN, an IP packet
_FRAMES_AT_ONCE = 64  # of one device, before the others have their turn
_LAN = "br0"


def tap(name):
    fd = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)
    return fd


def ip(*commands):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


@contextlib.contextmanager
def inserted(port):
    """Yields the devices on the port's side and on the LAN's."""
    bridge, near, far = f"slow-{port}", f"near-{port}", f"far-{port}"
    with contextlib.ExitStack() as undo:
        fds = []
        for name in (near, far):
            fds.append(tap(name))
            undo.callback(os.close, fds[-1])
        ip(f"link add name {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        undo.callback(ip, f"link delete {bridge}")
        ip(*(f"link set dev {name} up addrgenmode none" for name in (near, far, bridge)),
           f"link set dev {near} master {bridge}", f"link set dev {far} master {_LAN}")
        ip(f"link set dev {port} master {bridge}")
        undo.callback(ip, f"link set dev {port} master {_LAN}")
        yield fds


def frames(fd):
    for _ in range(_FRAMES_AT_ONCE):
        try:
            yield os.read(fd, _FRAME_BYTES)
        except BlockingIOError:
            return


def send(fd, frame):
    # A device that is just going down or has no room loses frames, as any link does.
    with contextlib.suppress(OSError):
        os.write(fd, frame)


def relay(pairs, delay_s, stop_fd):
    """Until STOP_FD has something to say, which is its end."""
    slow = {near: far for near, far in pairs}
    quick = {far: near for near, far in pairs}
    held = collections.deque()  # (when it is due, where it goes, frame), all of the same delay: in order
    while True:
        wait_s = max(0, held[0][0] - time.monotonic()) if held else None
        ready = select.select([stop_fd, *slow, *quick], [], [], wait_s)[0]
        if stop_fd in ready:
            return
        for fd in ready:
            for frame in frames(fd):
                if fd in slow:
                    held.append((time.monotonic() + delay_s, slow[fd], frame))
                else:
                    send(quick[fd], frame)
        while held and held[0][0] <= time.monotonic():
            send(*held.popleft()[1:])


def main():
    delay_s, ports = float(sys.argv[1]) / 1000, sys.argv[2:]
    # A veth hands what it is given to the processor that gives it: from two of them, frames would overtake each other.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(inserted(port)) for port in ports]
        print("ready", flush=True)
        relay(pairs, delay_s, sys.stdin.fileno())


if __name__ == "__main__":
    main()
