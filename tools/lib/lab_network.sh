# shellcheck shell=bash disable=SC2034 # lan_v4 is used by lab_agents.sh
# Sourced by tools/lab: links and addresses. Every link is made inside the lab's own namespaces and never exists in
# the machine's.
#
#   nodeK: br0 (10.99.1.K, containers' links are ports) -- uplink ==== nodeK -- br0 of lan -- client ==== eth0 of client
#
# Bringing a link up can take a second: the kernel reports a carrier late when a report was made less than a second
# ago, except for a link whose peer has another index, which is reported at once. Hence the explicit indexes, and a
# bridge is brought up after its ports are, so that it has its carrier from the start.

readonly lan_v4=10.99 lan_v6=fd00:99:

# ip_in PID: runs `ip -batch` on standard input in that process's network namespace. Not a netns of `ip`'s own, which
# would need /run/netns.
ip_in() { nsenter --target "$1" --net ip -batch -; }

# Waits until both ends of a link that was just brought up have their carrier.
await_link_up() { # PID LINK
  local round
  for ((round = 0; round < 500; round++)); do
    [[ $(nsenter --target "$1" --net ip -brief link show dev "$2") != *" UP "* ]] || return 0
    sleep 0.01
  done
  die "the link $2 has no carrier after 5 s"
}

bridge_options="stp_state 0 forward_delay 0 mcast_snooping 0"

make_lan() { # PID-OF-LAN
  ip_in "$1" <<BATCH
link set dev lo up
link add name br0 address 02:67:77:00:00:00 type bridge $bridge_options
link set dev br0 up
BATCH
}

# A network card keeps the packets of a connection in order. A veth hands each to the processor that sends it, so that a
# sender who moves to another one overtakes itself, which TCP takes for losses. So what
# comes into the LAN is spread over the processors by its connection (receive packet steering; the kernel's
# Documentation/networking/scaling.rst), as far as the first 32.
keep_connections_in_order() { # PID-OF-LAN PORT
  local processors
  processors=$(nproc)
  # shellcheck disable=SC2016 # for the inner shell
  nsenter --target "$1" --net --mount bash -c 'printf %x "$2" >"/sys/class/net/$1/queues/rx-0/rps_cpus"' \
    - "$2" $(((1 << (processors < 32 ? processors : 32)) - 1)) || die "cannot steer what comes from $2"
}

# Plugs a host into the LAN: a link from DEVICE in the host to a port of the LAN bridge named like the host. A port of
# a bridge needs no IPv6 address of its own (ADDRGENMODE none).
plug_into_lan() { # PID-OF-LAN PID HOST DEVICE NUMBER ADDRGENMODE
  ip_in "$2" <<BATCH
link set dev lo up
link add name $4 index 10 type veth peer name $3 index $((100 + $5)) netns $1
link set dev $4 up addrgenmode $6
BATCH
  ip_in "$1" <<BATCH
link set dev $3 up addrgenmode none
link set dev $3 master br0
BATCH
  keep_connections_in_order "$1" "$3"
  await_link_up "$2" "$4"
}

# The link to the other machines of a lab, whose ends may come up later. The kernel gives a device of the machine's own back
# when its namespace ends.
plug_trunk_into_lan() { # PID-OF-LAN DEVICE
  ip link set dev "$2" netns "$1"
  ip_in "$1" <<BATCH
link set dev $2 up addrgenmode none
link set dev $2 master br0
BATCH
}

# A node's bridge has a fixed MAC address: otherwise it takes the lowest of its ports', and the node's address would
# move whenever a container comes or goes. TCP between nodes uses CUBIC, Linux's default, whatever the machine has been set
# to, so that measurements of all machines compare; a namespace may not choose one for all of its connections by sysctl.
make_node_network() { # PID-OF-LAN PID NUMBER
  plug_into_lan "$1" "$2" "node$3" uplink "$3" none
  ip_in "$2" <<BATCH
link add name br0 address $(printf '02:67:77:00:01:%02x' "$3") type bridge $bridge_options
link set dev uplink master br0
link set dev br0 up
address add $lan_v4.1.$3/16 dev br0
route replace $lan_v4.0.0/16 dev br0 proto kernel scope link src $lan_v4.1.$3 congctl cubic
address add ${lan_v6}:1:$3/64 dev br0 nodad
route replace ${lan_v6}:/64 dev br0 proto kernel metric 256 congctl cubic
BATCH
}

make_client_network() { # PID-OF-LAN PID
  plug_into_lan "$1" "$2" client eth0 255 eui64
  ip_in "$2" <<BATCH
address add $lan_v4.0.2/16 dev eth0
address add ${lan_v6}:2/64 dev eth0 nodad
BATCH
}

# A device name for the node's end of a container's link; at most 15 characters.
port_name() { # NAME
  if [[ ${#1} -le 12 ]]; then
    echo "ct-$1"
  else
    printf 'ct-%s%04x' "${1:0:8}" $(($(cksum <<<"$1" | cut -d' ' -f1) & 0xffff))
  fi
}

# Makes /run/netns/NAME on a node with eth0 on br0.
make_container_netns() { # PID NAME GATEWAY ADDR/LEN…
  local pid=$1 name=$2 gateway=$3 port address batch
  shift 3
  port=$(port_name "$name")
  local in_node=(nsenter --target "$pid" --net --mount --uts)
  "${in_node[@]}" ip netns add "$name" || die "cannot make the namespace $name"
  batch="link set dev lo up"$'\n'"link set dev eth0 up"
  for address in "$@"; do
    batch+=$'\n'"address add $address dev eth0"
    [[ $address != *:* ]] || batch+=" nodad"
  done
  [[ -z $gateway ]] || batch+=$'\n'"route add default via $gateway dev eth0"
  if ! {
    "${in_node[@]}" ip -batch - <<BATCH
link add name $port type veth peer name eth0 index 2 netns $name
link set dev $port up addrgenmode none
BATCH
    "${in_node[@]}" ip -netns "$name" -batch - <<<"$batch"
    await_link_up "$pid" "$port"
    "${in_node[@]}" ip link set dev "$port" master br0
  }; then
    "${in_node[@]}" ip netns delete "$name"
    die "cannot set up the namespace $name"
  fi
}

# Both directions of a node's uplink, each at its sender. The burst is what 2 ms carry, at least one jumbo frame.
shape_uplink() { # PID-OF-LAN PID NODE RATE
  local pid device
  for pid in "$1" "$2"; do
    device=$([[ $pid == "$1" ]] && echo "$3" || echo uplink)
    if [[ $4 == off ]]; then
      nsenter --target "$pid" --net tc qdisc delete dev "$device" root 2>/dev/null || true
    else
      nsenter --target "$pid" --net tc qdisc replace dev "$device" root tbf rate "$4" burst 256kb latency 20ms ||
        die "cannot shape the uplink of $3 to $4"
    fi
  done
}

# A cut uplink stays "up" at both ends, as when a switch in between loses power: no error, just silence. Taking the
# port off the LAN bridge does that at once, and putting it back needs no wait for a carrier.
cut_uplink() { # PID-OF-LAN NODE
  ip_in "$1" <<<"link set dev $2 nomaster"
}

mend_uplink() { # PID-OF-LAN NODE
  ip_in "$1" <<<"link set dev $2 master br0"
}
