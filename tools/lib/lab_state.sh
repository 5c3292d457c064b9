# shellcheck shell=bash
# Sourced by tools/lab: what is remembered about the lab, and who may change it.
#
# $lab_state           one lab per machine, so one directory, whatever checkout it was started from
#   owner              checkout and time; written first, so that a lab cut short in the middle of `up` is known
#   ready              exists when `up` has finished
#   HOST/holder        "PID STARTTIME" of the process that keeps HOST's namespaces
#   HOST/far           of a node on another machine: lab_machines.sh
#   HOST/agent         the same for its godwitd
#   pki/               the lab's certificate authority

# shellcheck disable=SC2034 # used by tools/lab
readonly lab_state=/run/godwit-lab
readonly lab_lock=/run/godwit-lab.lock

# A process is its PID and its start time, so that a reused PID is never taken for it.
# Sets REPLY.
start_time() { # PID
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086
  set -- $stat
  [[ $1 != Z ]] || return 1
  REPLY=${20}
}

remember_process() { # FILE PID
  start_time "$2" || REPLY=gone
  echo "$2 $REPLY" >"$1"
}

# live_process FILE: prints the PID if the process remembered there is still that one.
live_process() {
  local pid started
  [[ -r $1 ]] && read -r pid started <"$1" && start_time "$pid" && [[ $REPLY == "$started" ]] && echo "$pid"
}

# One `up`, `down` or change at a time on the machine; waits up to 30 s for the one before. The holder may delete the
# file (down leaves nothing), so a lock on a file that has lost its name does not count. Closed in children (9>&-): only
# this process holds it.
take_lock() {
  while true; do
    exec 9>"$lab_lock"
    flock --wait 30 9 || die "another tools/lab is at work on this machine ($lab_lock is locked)"
    [[ ! /proc/self/fd/9 -ef $lab_lock ]] || return 0
  done
}

lab_owner() { sed -n 1p "$lab_state/owner" 2>/dev/null; }
lab_since() { sed -n 2p "$lab_state/owner" 2>/dev/null; }

need_lab() {
  [[ -e $lab_state/ready ]] || die "no lab is up; tools/lab up makes one"
}
