// Where the container's links are attached on the target, and whether they can be.
#pragma once

#include <string>
#include <vector>

#include "migration/host.h"
#include "peer.pb.h"

namespace godwit {

// The bridge that stands for the source's BRIDGE here, and the link that stands for its PARENT of macvlans.
std::string bridge_here(const Host& host, const std::string& bridge);
std::string parent_here(const Host& host, const std::string& parent);

// STATE with the names of bridges and parents on this host.
peer::NetworkState with_links_here(const Host& host, peer::NetworkState state);

// REQUEST comes from a peer. Asks the LAN whether an address is in use already, which takes a fifth of a second and
// changes nothing.
std::vector<peer::Problem> judge_links(const Host& host, const peer::Preflight& request);

}  // namespace godwit
