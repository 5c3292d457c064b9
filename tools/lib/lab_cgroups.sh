# shellcheck shell=bash disable=SC2154,SC2034 # $lab_state is lab_state.sh's; not every reader needs all columns
# Sourced by tools/lab: each lab host has the cgroup lab-HOST in every mounted hierarchy, version 1 and 2. A process
# belongs to the lab exactly if it is in such a cgroup; `down` finds what to kill there and nowhere else.

# Prints "TYPE MOUNTPOINT OPTIONS" for each hierarchy, OPTIONS being those that mount it once more.
cgroup_hierarchies() {
  local line fields type options all option seen=" "
  while read -r line; do
    [[ $line == *" - cgroup "* || $line == *" - cgroup2 "* ]] || continue
    read -ra fields <<<"$line"
    [[ $seen != *" ${fields[2]} "* ]] || continue
    seen+="${fields[2]} "
    read -r type _ all <<<"${line##* - }"
    options=
    for option in ${all//,/ }; do
      [[ $option =~ ^(rw|ro|seclabel|clone_children|release_agent=.*)$ ]] || options+=,$option
    done
    [[ $options != *name=* ]] || options=none$options
    [[ $type == cgroup ]] || options=rw
    echo "$type ${fields[4]} ${options#,}"
  done </proc/self/mountinfo
}

# Where the processes of a host are: on a pure version 2 system in a child, because a cgroup that hands controllers
# to its children (the containers) may have no processes of its own.
readonly v2_leaf=init
pure_v2() { [[ -e /sys/fs/cgroup/cgroup.controllers ]]; }

make_cgroups() { # HOST
  local type mountpoint options group file
  while read -r type mountpoint options; do
    group=$mountpoint/lab-$1
    mkdir -p "$group"
    if [[ $type == cgroup ]]; then
      # An empty cpuset takes no process.
      for file in cpuset.cpus cpuset.mems; do
        [[ ! -e $group/$file ]] || cat "$mountpoint/$file" >"$group/$file"
      done
    elif pure_v2; then
      # What the machine did not hand out before, down takes back.
      share_controllers "$mountpoint" | sed "s|^|$mountpoint |" >>"$lab_state/controllers"
    fi
  done < <(cgroup_hierarchies)
}

# Hands a version 2 cgroup's controllers to its children; prints those it did not hand out before.
share_controllers() { # CGROUP
  local controller
  for controller in $(<"$1/cgroup.controllers"); do
    [[ " $(<"$1/cgroup.subtree_control") " != *" $controller "* ]] || continue
    # Some cannot be handed out, such as cpu while real-time processes run; the host then goes without.
    { echo "+$controller" >"$1/cgroup.subtree_control"; } 2>/dev/null || continue
    echo "$controller"
  done
}

# join_cgroups HOST PID [LEAF]: all threads of the process, in all hierarchies. LEAF, usually $v2_leaf, counts on a
# pure version 2 system only.
join_cgroups() {
  local type mountpoint options group leaf=${3-$v2_leaf}
  while read -r type mountpoint options; do
    group=$mountpoint/lab-$1
    [[ $type == cgroup ]] || ! pure_v2 || group+=/$leaf
    echo "$2" >"$group/cgroup.procs"
  done < <(cgroup_hierarchies)
}

# All lab cgroups on the machine, also those of a lab that was never finished.
lab_cgroups() {
  local type mountpoint options
  while read -r type mountpoint options; do
    find "$mountpoint" -mindepth 1 -maxdepth 1 -type d \
      \( -name 'lab-node[0-9]*' -o -name lab-client -o -name lab-lan \)
  done < <(cgroup_hierarchies)
}

# Kills every process of the lab, frozen ones too, and removes the cgroups. A process may fork while the list is read
# and cgroup version 1 reports no end of a group's processes, so look again until none is left.
remove_cgroups() {
  local groups pids round controller group
  mapfile -t groups < <(lab_cgroups)
  [[ ${#groups[@]} -gt 0 ]] || return 0
  for ((round = 0; round < 1000; round++)); do
    # 0 stands for a process this namespace cannot see; kill would take it for our own group.
    mapfile -t pids < <(find "${groups[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un | grep -vx 0)
    [[ ${#pids[@]} -eq 0 ]] || kill -KILL "${pids[@]}" 2>/dev/null || true
    if ((round % 10 == 0)); then # a frozen process dies when it is thawed
      while read -r group; do
        { echo THAWED >"$group"; } 2>/dev/null || true
      done < <(find "${groups[@]}" -name freezer.state 2>/dev/null)
      while read -r group; do
        { echo 0 >"$group"; } 2>/dev/null || true
      done < <(find "${groups[@]}" -name cgroup.freeze 2>/dev/null)
    fi
    if [[ ${#pids[@]} -eq 0 ]]; then
      find "${groups[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || true
      mapfile -t groups < <(lab_cgroups)
      [[ ${#groups[@]} -gt 0 ]] || break
    fi
    sleep 0.01
  done
  [[ ${#groups[@]} -eq 0 ]] ||
    die "after 10 s these cgroups still have processes: ${groups[*]} (PIDs: ${pids[*]:-none visible})"
  while read -r group controller; do
    { echo "-$controller" >"$group/cgroup.subtree_control"; } 2>/dev/null || true
  done < <(cat "$lab_state/controllers" 2>/dev/null || true)
}
