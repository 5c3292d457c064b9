// What godwit needs from a container's config.json (OCI runtime specification).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace godwit {

struct BindMount {
  std::string source;
  std::string destination;
};

struct OciSpec {
  std::filesystem::path rootfs;           // absolute
  std::optional<std::string> netns_path;  // of the network namespace, if it is named
  bool own_netns = false;                 // a network namespace without a path
  bool terminal = false;
  bool own_cgroupns = false;  // a cgroup namespace
  bool own_userns = false;    // a user namespace
  bool other_userns = false;  // which config.json names by a path
  std::vector<BindMount> bind_mounts;
  uint64_t memory_limit_bytes = 0;  // 0: none
};

inline constexpr size_t kOciSpecBytesMax = size_t{1} << 20;
inline constexpr int kOciSpecDepthMax = 64;  // the specification has less than ten levels

// True if neither BUNDLE nor anything that SPEC mounts is below /tmp.
bool can_do_without_tmp(const OciSpec& spec, const std::filesystem::path& bundle);

// BUNDLE makes a relative root path absolute. The text may come from a peer.
Result<OciSpec> parse_oci_spec(std::string_view config_json, const std::filesystem::path& bundle);

}  // namespace godwit
