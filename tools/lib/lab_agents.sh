# shellcheck shell=bash disable=SC2154 # $here, $bin, $lab_state, $lan_v4 are the other parts'
# Sourced by tools/lab: a node's configuration and certificates, and its godwitd.

readonly usual_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Files of a host as seen from the machine.
host_root() { echo "/proc/$(live_process "$lab_state/$1/holder")/root"; }

# What a node's godwitd prints: in the node's own /run, which is never on a disk, so that what a migration writes to
# disks can be measured.
agent_log() { echo "$(host_root "$1")/run/godwitd.log"; }

write_config() { # NODE NUMBER NODES
  local number runc
  runc=$(PATH=$usual_path command -v runc) || runc=/usr/sbin/runc
  {
    cat <<TOML
# Written by tools/lab for $1.
node = "$1"

[agent]
socket = "/run/godwit/godwitd.sock"
listen = "$lan_v4.1.$2:7410"
data_listen = "$lan_v4.1.$2:7411"

[tls]
ca = "/etc/godwit/tls/ca.crt"
cert = "/etc/godwit/tls/host.crt"
key = "/etc/godwit/tls/host.key"

[network]
bridge = "br0"

[runtime]
runc = "$runc"
criu = "/opt/godwit/criu/bin/criu"
root = "/run/runc"
stream_log_dir = "/var/lib/godwit/streams"

[peers]
TOML
    for ((number = 1; number <= $3; number++)); do
      echo "node$number = \"$lan_v4.1.$number:7410\""
    done
  } >"$(host_root "$1")/etc/godwit/godwit.toml"
}

# The certificate authority stays on the machine; a node gets its own certificate and the authority's.
make_authority() {
  "$bin/godwit" pki ca --dir "$authority" --days 2 >/dev/null || die "godwit pki ca failed"
}

write_certificates() { # NODE NUMBER
  local tls
  tls=$(host_root "$1")/etc/godwit/tls
  mkdir "$tls"
  "$bin/godwit" pki host "$1" --ip "$lan_v4.1.$2" --ca "$authority" --out "$tls" >/dev/null ||
    die "godwit pki host $1 failed"
  cp "$authority/ca.crt" "$tls/ca.crt"
}

launch_agent() { # NODE
  local pid=
  ! pid=$(live_process "$lab_state/$1/agent") || die "godwitd on $1 is already running (PID $pid)"
  run_on "$1" setsid "$bin/godwitd" --config /etc/godwit/godwit.toml \
    </dev/null >>"$(agent_log "$1")" 2>&1 9>&- &
  remember_process "$lab_state/$1/agent" $!
}

# Waits until the agents just launched accept connections on their sockets; at most 10 s, all of them together.
await_agents() { # NODE…
  local node arguments=()
  for node in "$@"; do
    arguments+=("$node" "$(cut -d' ' -f1 "$lab_state/$node/agent")" "$(host_root "$node")/run/godwit/godwitd.sock")
  done
  if ! node=$(/usr/bin/python3 "$here/lib/lab_await_agents.py" "${arguments[@]}"); then
    say "godwitd on ${node/:/}; the end of its log:"
    tail -n 20 "$(agent_log "${node%%:*}")" >&2
    die "godwitd on ${node%%:*} did not start"
  fi
}

# True once no thread of the process is left. Until then its socket still takes connections that nobody will serve.
threads_have_ended() { # PID
  local tasks=(/proc/"$1"/task/*)
  [[ ! -d ${tasks[0]} || ${#tasks[@]} -eq 1 ]]
}

# Ends an agent with SIGNAL and waits for its end.
end_agent() { # NODE SIGNAL
  local pid round
  pid=$(live_process "$lab_state/$1/agent") || die "godwitd on $1 is not running"
  kill -s "$2" "$pid"
  for ((round = 0; round < 1000; round++)); do
    if ! live_process "$lab_state/$1/agent" >/dev/null && threads_have_ended "$pid"; then
      rm -f "$lab_state/$1/agent"
      return
    fi
    sleep 0.01
  done
  die "godwitd on $1 (PID $pid) still runs 10 s after SIG$2"
}
