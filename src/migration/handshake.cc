#include "migration/handshake.h"

#include <fmt/format.h>

#include "base/identifier.h"
#include "kernel/proc.h"
#include "migration/target_facts.h"
#include "wire/protocol.h"

namespace godwit {

peer::SourceMessage hello_message(const Host& host, const std::string& migration_id) {
  peer::SourceMessage message;
  peer::Hello& hello = *message.mutable_hello();
  hello.set_version_major(wire::kProtocolMajor);
  hello.set_version_minor(wire::kProtocolMinor);
  hello.set_software(GODWIT_VERSION);
  hello.set_node(host.node);
  hello.set_migration_id(migration_id);
  hello.set_data_encryption(host.data_encryption);
  return message;
}

Result<> check_hello(const peer::Hello& hello) {
  TRY(wire::check_version(hello.version_major(), hello.version_minor(), hello.software()));
  TRY(check_name("node name", hello.node()));
  return check_id(hello.migration_id());
}

Result<> check_hello_reply(const peer::HelloReply& reply, const std::string& expected) {
  TRY(wire::check_version(reply.version_major(), reply.version_minor(), reply.software()));
  if (reply.node() != expected)
    return fail(fmt::format("the agent reached as '{}' calls itself '{}'", expected, reply.node()));
  return {};
}

void use_common_criu_options(bool simple_cgroups, criu::Options& options) {
  options.set_tcp_established(true);
  options.set_file_locks(true);
  options.set_network_lock(criu::NETWORK_LOCK_SKIP);  // godwit takes the port off the bridge instead
  // runC makes the container's cgroup and starts CRIU in it, so what CRIU restores is in the right place; moving it
  // there once more costs a grace period of the kernel for each hierarchy, some 10 ms.
  if (simple_cgroups) options.set_manage_cgroups_mode(0);
  // Deleted files that are still open go in the images: a shared memory segment is often one. CRIU's own limit, 1 MiB,
  // is for disks.
  options.set_ghost_limit(uint32_t{1} << 30);
  options.set_log_level(2);  // errors and warnings: what relevant_log_lines() reads
}

uint64_t image_tmpfs_bytes(uint64_t memory_bytes) {
  constexpr uint64_t kLogs = uint64_t{64} << 20;
  return image_bytes_for(memory_bytes) + proc::tcp_queue_bytes_max() + kLogs;
}

}  // namespace godwit
