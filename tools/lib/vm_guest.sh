#!/usr/bin/env bash
# The first process of a guest of tools/vm once it sees the machine's files: mounts what a host has of its own, runs
# /mnt/command, leaves its status in /mnt/status, and switches the guest off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

# Version 1 as it was usual, or version 2 alone. A kernel may lack some of them.
mount_cgroups() {
  local controller
  if [[ $(</proc/cmdline) == *godwit.cgroup=2* ]]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    return
  fi
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" 2>/dev/null ||
      rmdir "/sys/fs/cgroup/$controller"
  done
  mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
  mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
}

mountpoint -q /proc || mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount_cgroups
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
mkdir -p /run/lock /run/netns /run/modprobe
hostname vm
ip link set lo up
# The kernel asks for modules by this program; the machine may have none.
ln -s /bin/busybox /run/modprobe/modprobe
echo /run/modprobe/modprobe >/proc/sys/kernel/modprobe
/run/modprobe/modprobe tun # found by its device file, which udev makes elsewhere
/run/modprobe/modprobe virtio_net

for port in /sys/class/virtio-ports/*; do
  [[ $(<"$port/name") != output ]] || output=/dev/${port##*/}
done
setsid bash /mnt/command </dev/null >"$output" 2>&1
echo $? >/mnt/status
sync
echo o >/proc/sysrq-trigger
sleep 60
