// The first exchange of a control connection: versions and names. wire/protocol.h has the rule.
#pragma once

#include <string>

#include "base/result.h"
#include "criu_rpc.pb.h"
#include "migration/host.h"
#include "peer.pb.h"

namespace godwit {

peer::SourceMessage hello_message(const Host& host, const std::string& migration_id);

// The target's judgement of a Hello; an error is what the source is told.
Result<> check_hello(const peer::Hello& hello);
// The source's judgement of the answer. EXPECTED is the node the user named.
Result<> check_hello_reply(const peer::HelloReply& reply, const std::string& expected);

// What godwit asks of CRIU on both sides. SIMPLE_CGROUPS: peer::Prepare.
void use_common_criu_options(bool simple_cgroups, criu::Options& options);

// Size limit of the tmpfs that takes the images of a container with MEMORY_BYTES in use; what is in its sockets' queues
// comes on top.
uint64_t image_tmpfs_bytes(uint64_t memory_bytes);

}  // namespace godwit
