# shellcheck shell=bash disable=SC2154 # $here, $checkout, $lab_state, $lan_v4 are the other parts'
# Sourced by tools/lab: a lab whose nodes are on several machines, each with a tools/lab of its own (up --only). What is to
# happen on a node elsewhere is done by that machine's tools/lab, which is reached through its door (lab_door.py).
#
#   HOST/far           of a node elsewhere: the address of its machine's door

is_far() { [[ -e $lab_state/$1/far ]]; } # NODE

note_far_nodes() { # ONLY COUNT
  local number
  for ((number = 1; number <= $2; number++)); do
    [[ $number != "$1" ]] || continue
    mkdir "$lab_state/node$number"
    echo "$lan_v4.1.$number" >"$lab_state/node$number/far"
  done
}

# The node's address, the machine's files, and the cgroups of the LAN: what the door costs is not the node's.
open_door() { # NODE NUMBER
  local pid round
  pid=$(live_process "$lab_state/$1/holder")
  (
    join_cgroups lan "$BASHPID"
    exec nsenter --target "$pid" --net setsid /usr/bin/python3 "$here/lib/lab_door.py" serve "$lan_v4.1.$2"
  ) </dev/null >"$lab_state/door.log" 2>&1 9>&- &
  for ((round = 0; round < 3000; round++)); do
    ! grep -qx ready "$lab_state/door.log" || return 0
    sleep 0.01
  done
  cat "$lab_state/door.log" >&2
  die "the door of this machine did not open within 30 s"
}

# Replaces this process by tools/lab COMMAND NODE… on the machine that has the node.
on_far_machine() { # COMMAND NODE…
  local from
  [[ $1 != link || ${3:-} != --cut ]] || die "$2 is on another machine and is reached by that link: cut it there"
  from=$(hosts | grep -vx lan | head -n 1)
  run_on "$from" /usr/bin/python3 "$here/lib/lab_door.py" call "$(<"$lab_state/$2/far")" "$here/lab" "$@"
}
