// What the source knows of a container before it is touched, and why it may not be able to move.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migration/host.h"
#include "network/host_port.h"
#include "peer.pb.h"
#include "runtime/oci_spec.h"
#include "runtime/runc.h"

namespace godwit {

struct SourceFacts {
  ContainerState container;
  OciSpec spec;
  std::string config_json;
  std::vector<pid_t> processes;
  std::vector<peer::Stream> streams;
  std::vector<network::HostPort> ports;
  peer::NetworkState network;
  std::vector<peer::CniAttachment> cni;  // of the namespace
  uint64_t memory_bytes = 0;
  bool simple_cgroups = false;          // peer::Prepare
  std::vector<peer::Problem> problems;  // found on this side
};

// An error: there is no such container, or it cannot be looked at. Problems with it are in the facts. Takes tens of
// milliseconds; the container does not notice.
Result<SourceFacts> collect_source_facts(const Host& host, const std::string& container);

// The message by which the target judges whether it can take the container.
peer::Preflight preflight_message(const Host& host, const SourceFacts& facts);

// Why CRIU cannot be used on this host; empty if it can.
std::string criu_problem(const Host& host);

peer::Problem problem(std::string subject, std::string text);

}  // namespace godwit
