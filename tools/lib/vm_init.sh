#!/bin/busybox sh
# shellcheck shell=dash
# The first program in a guest of tools/vm, in its initial file system: mounts the machine's file system and goes on in
# vm_guest.sh there. What it says goes to the console, which tools/vm shows if the guest ends without a result.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_console 9pnet_virtio 9p overlay; do modprobe "$module"; done

parameter() { sed -n "s/.*godwit\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

set -e
# The machine's files may change meanwhile, but not those that matter here.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host
mount -t tmpfs -o size=75% tmpfs /over
mkdir /over/upper /over/work /over/root
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /over/root
mkdir -p /over/root/lib/modules
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none job /over/root/mnt
share=$(parameter share)
[ -z "$share" ] || mount -t 9p -o trans=virtio,version=9p2000.L,cache=none share "/over/root$share"
mount --bind "/over/root$(parameter modules)" /over/root/lib/modules
umount /sys
mount --move /dev /over/root/dev
tools=$(parameter tools)
exec switch_root /over/root "$tools/lib/vm_guest.sh"
