// Programs of the host's administrator that are told when a container's addresses move: where layer 2 does not reach,
// they change a route or call a controller. A hook decides nothing: what it fails to do is a note in the report.
#pragma once

#include <chrono>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "peer.pb.h"

namespace godwit {

// Absolute paths; empty: none.
struct HookPrograms {
  std::filesystem::path attached;     // target: after the commit, when the addresses are on its bridge
  std::filesystem::path detached;     // source: after the commit
  std::filesystem::path rolled_back;  // source: the container runs here again
  std::chrono::milliseconds limit{10'000};
};

enum class HookPhase { kAttached, kDetached, kRolledBack };

// What the program finds in its environment.
struct HookFacts {
  HookPhase phase;
  std::string container;
  std::string migration_id;
  std::string node;                          // GODWIT_NODE: this host
  std::string other;                         // GODWIT_OTHER_NODE
  std::string netns;                         // GODWIT_NETNS
  std::vector<std::string> interfaces = {};  // GODWIT_INTERFACES: in the container; all lists are divided by blanks
  std::vector<std::string> macs = {};        // GODWIT_MACS, one for each interface
  std::vector<std::string> addresses = {};   // GODWIT_ADDRESSES: INTERFACE=ADDRESS/LEN
};

HookFacts hook_facts(HookPhase phase, const std::string& container, const std::string& migration_id,
                     const peer::NetworkState& network);

// Runs the phase's program on a thread, if there is one. The result: what went wrong, for the report; empty if nothing
// did. At the limit the program is killed with its process group.
std::future<std::string> start_hook(const HookPrograms& programs, HookFacts facts);

// For the pre-flight: which configured programs cannot be run. Empty: none.
std::string hook_problem(const HookPrograms& programs);

}  // namespace godwit
