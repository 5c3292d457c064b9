// For tests: a LAN with two hosts and a client, each a namespace without a name, and a container on
// the first host.
//
//   client ── lan ──┬── host A: br0 ── c0 ─┊─ eth0: container, 10.98.2.7, fd98::7
//                   └── host B: br0
//
// Nothing is in the machine's own namespace, and all of it goes with the descriptors.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/subprocess.h"
#include "kernel/netns.h"
#include "peer.pb.h"

namespace godwit::network {

inline ScopedFd new_netns() {
  ScopedFd fd;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) return;
    if (auto own = open_current_netns()) fd = std::move(*own);
  }).join();
  return fd;
}

// Runs a shell script with NETNS as its network namespace and returns its output.
inline std::string run_in(const ScopedFd& netns, const std::string& script) {
  auto output = in_netns(netns.get(),
                         [&] { return run_command({.argv = {"/bin/sh", "-ec", script}}, std::chrono::seconds(20)); });
  if (!output) ADD_FAILURE() << output.error().text();
  if (output && output->status != 0) ADD_FAILURE() << script << ":\n" << output->errors;
  return output ? output->out : "";
}

// A path for a named namespace of this test process.
inline std::string test_netns_path(const std::string& suffix) {
  return "/run/netns/gwt-" + std::to_string(getpid()) + "-" + suffix;
}

// STATE with all links on BRIDGE.
inline peer::NetworkState on_bridge(peer::NetworkState state, const std::string& bridge) {
  for (peer::Link& link : *state.mutable_links())
    if (!link.loopback() && link.kind().empty()) link.set_bridge(bridge);
  return state;
}

struct TestLan {
  ScopedFd lan = new_netns(), a = new_netns(), b = new_netns(), client = new_netns(), container = new_netns();

  TestLan() {
    run_in(lan, "ip link set lo up; ip link add lan type bridge; ip link set lan up");
    connect(lan, "toa", "lan", a, "up0");
    connect(lan, "tob", "lan", b, "up0");
    connect(lan, "toc", "lan", client, "eth0");
    for (const ScopedFd* host : {&a, &b})
      run_in(*host, "ip link add br0 type bridge; ip link set br0 up; ip link set up0 master br0");
    run_in(client, "ip addr add 10.98.0.2/16 dev eth0; ip addr add fd98::2/64 dev eth0 nodad");
    connect(a, "c0", "br0", container, "eth0");
    run_in(container,
           "ip link set lo up; ip link set eth0 address 02:00:0a:62:02:07; "
           "ip addr add 10.98.2.7/16 brd + dev eth0; ip addr add fd98::7/64 dev eth0 nodad; "
           "ip route add default via 10.98.0.2");
  }

  // A veth pair, both ends up: PORT on BRIDGE in NEAR, END in FAR.
  static void connect(const ScopedFd& near, const std::string& port, const std::string& bridge, const ScopedFd& far,
                      const std::string& end) {
    std::string fd = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(far.get());
    run_in(near, "ip link add " + port + " type veth peer name " + end + " netns " + fd + "; ip link set " + port +
                     " master " + bridge + " up");
    run_in(far, "ip link set " + end + " up");
  }

  std::string ping(const std::string& address) { return run_in(client, "ping -c1 -W2 " + address); }
};

}  // namespace godwit::network
