// Interfaces that were made by CNI plugins (https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md). A
// container manager finds its state in two places: the addresses that the IPAM plugin has allocated, and the results
// of ADD that libcni caches. Both are made on the target and removed on the source.
//
// The main plugin's ADD (bridge, macvlan) is not called on the target: it would put the address on the LAN while the
// container still runs on the source. It makes a link and asks the IPAM plugin for the address; the link is godwit's
// work, and the IPAM plugin is asked here. Plugins that follow it in the network's list (portmap, firewall, tuning) are
// called. On the source DEL is called for all of them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "peer.pb.h"

namespace godwit::network {

struct CniPaths {
  std::filesystem::path conf_dir;   // network configurations
  std::filesystem::path bin_dir;    // plugins
  std::filesystem::path cache_dir;  // of libcni; results are in results/
};

inline constexpr int kCniAttachmentsMax = 64;

// --- Source ---

// The cached results whose sandbox is NETNS_PATH. Results that cannot be read belong to nobody.
std::vector<peer::CniAttachment> find_cni_attachments(const CniPaths& paths, const std::string& netns_path);

// DEL by all plugins of the network, last first, as the manager would call it, and the cached result is removed. The
// namespace must still be there. An error names the plugin that failed; the others were called all the same.
Result<> release_cni(const CniPaths& paths, const peer::CniAttachment& attachment, const std::string& netns_path);

// --- Target: ATTACHMENT comes from a peer ---

// Why the network cannot be had here; empty if it can. Changes nothing.
std::string cni_problem(const CniPaths& paths, const peer::CniAttachment& attachment);

// The addresses and rules of one attachment. They are given back by the destructor unless committed.
class CniAllocation {
 public:
  // NETNS_PATH and the interface in it are there. An error: an address is taken, or a plugin failed; nothing is left.
  static Result<CniAllocation> add(const CniPaths& paths, const peer::CniAttachment& attachment,
                                   const std::string& netns_path);
  CniAllocation(CniAllocation&& other) noexcept;
  CniAllocation& operator=(CniAllocation&&) = delete;
  ~CniAllocation();

  // The container runs here: writes the result where a manager looks for it.
  Result<> commit();

 private:
  struct State;
  explicit CniAllocation(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace godwit::network
