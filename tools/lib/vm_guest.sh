#!/usr/bin/env bash
# The first process of a guest of tools/vm once it sees the machine's files: mounts what a host has of its own, runs
# /mnt/command, leaves its status in /mnt/status, and switches the guest off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

mountpoint -q /proc || mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sfn /proc/self/fd /dev/fd
mkdir -p /run/lock /run/netns /run/modprobe
hostname vm
ip link set lo up
# The kernel asks for modules by this program; the machine may have none.
ln -s /bin/busybox /run/modprobe/modprobe
echo /run/modprobe/modprobe >/proc/sys/kernel/modprobe
/run/modprobe/modprobe tun # found by its device file, which udev makes elsewhere

for port in /sys/class/virtio-ports/*; do
  [[ $(<"$port/name") != output ]] || output=/dev/${port##*/}
done
setsid bash /mnt/command </dev/null >"$output" 2>&1
echo $? >/mnt/status
sync
echo o >/proc/sysrq-trigger
sleep 60
