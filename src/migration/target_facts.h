// Whether this host can take a container: the target's half of the pre-flight. It changes nothing.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "migration/host.h"
#include "peer.pb.h"
#include "runtime/oci_spec.h"

namespace godwit {

// REQUEST comes from a peer.
peer::PreflightReply judge(const Host& host, const peer::Preflight& request);

// The bundle directory the container gets here: the source's if the same config.json is there too (a shared file
// system), otherwise one of ours below the run directory.
std::filesystem::path bundle_on_target(const Host& host, const peer::Preflight& request);

// Bytes of images a container of MEMORY_BYTES may send: pages, their index, the contents of its tmpfs mounts, and
// what is counted as file-backed.
uint64_t image_bytes_for(uint64_t memory_bytes);

}  // namespace godwit
