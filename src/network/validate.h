// Checks on a NetworkState that came from a peer: bounds, sizes, names. After it, every value may
// be handed to the kernel inside a namespace made for it; what the values mean there is between the
// container and the kernel.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "peer.pb.h"

namespace godwit::network {

inline constexpr int kLinksMax = 64;
inline constexpr int kAddressesMax = 4096;
inline constexpr int kRoutesMax = 4096;
inline constexpr int kNeighboursMax = 4096;
inline constexpr int kSysctlsMax = 16384;
inline constexpr int kRulesMax = 4096;
inline constexpr int kHopsMax = 64;                // of one route
inline constexpr int kMetricsMax = 32;             // of one route
inline constexpr size_t kMetricTextBytesMax = 16;  // TCP_CA_NAME_MAX
inline constexpr size_t kSysctlValueBytesMax = 256;

Result<> check_network_state(const peer::NetworkState& state);

// A sysctl's path below /proc/sys/net: relative, plain, and of a part that belongs to a namespace.
bool is_allowed_sysctl(const std::string& path);

// One line of at most kSysctlValueBytesMax bytes.
bool is_allowed_sysctl_value(const std::string& value);

}  // namespace godwit::network
