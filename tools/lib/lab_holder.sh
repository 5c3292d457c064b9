#!/usr/bin/env bash
# lab_holder.sh HOST: becomes the process that keeps the namespaces of a lab host. Started by tools/lab, which reads
# "ready" from its standard output once the host's mounts are made. When it dies, and with it whatever else runs
# there, the kernel takes the whole host away: nothing is pinned anywhere.
#
# The cgroups are joined first: from then on `tools/lab down` finds this process, however far it came. The cgroup
# namespace is unshared while in them, so that lab-HOST is the root of what the host sees.
set -euo pipefail
lib=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lab_cgroups.sh
. "$lib/lab_cgroups.sh"

# The host's own /sys (for its network namespace) and below it every cgroup hierarchy at its usual path.
mount_sys() {
  local hierarchies links type mountpoint options pure=no
  ! pure_v2 || pure=yes
  hierarchies=$(cgroup_hierarchies)
  links=$(find /sys/fs/cgroup -maxdepth 1 -type l -printf '%P %l\n') # such as cpu -> cpu,cpuacct
  umount --recursive /sys
  mount -t sysfs sysfs /sys
  [[ $pure == yes ]] || mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while read -r type mountpoint options; do
    mkdir -p "$mountpoint"
    mount -t "$type" -o "$options" "$type" "$mountpoint"
  done <<<"$hierarchies"
  while read -r mountpoint options; do
    [[ -z $mountpoint ]] || ln -s "$options" "/sys/fs/cgroup/$mountpoint"
  done <<<"$links"
}

inside() { # HOST
  hostname "$1"
  mount_sys
  if pure_v2; then # this is lab-HOST now: empty it, then let it hand out its controllers
    mkdir -p "/sys/fs/cgroup/$v2_leaf"
    echo $$ >"/sys/fs/cgroup/$v2_leaf/cgroup.procs"
    share_controllers /sys/fs/cgroup >/dev/null
  fi
  mount -t tmpfs -o mode=700 tmpfs /etc/godwit
  mount -t tmpfs -o mode=700 tmpfs /var/lib/godwit
  mount -t tmpfs -o mode=755 tmpfs /run # last, as mount(8) leaves notes in it
  mkdir -p /run/lock /run/netns
  cd /
  echo ready
  exec -a "lab-$1" sleep infinity >/dev/null 2>&1
}

case $1 in
  --inside) inside "$2" ;;
  *)
    join_cgroups "$1" $$ ""
    exec unshare --mount --net --uts --cgroup --propagation private bash "$0" --inside "$1"
    ;;
esac
