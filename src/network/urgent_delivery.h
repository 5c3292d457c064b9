// Urgent data that a container had not read comes once more, in its namespace on the target, with what came after it:
// as segments of the peer's over loopback, into a connection that has been restored up to the mark
// (runtime/urgent_data.h) and is still in repair mode (tcp(7)). The acknowledgements that it sends are older than what
// the peer has.
#pragma once

#include "base/result.h"
#include "network/loopback_sender.h"
#include "sockets.pb.h"

namespace godwit::network {

// URGENT has been checked. Back when SOCKET has it as its queue had it on the source; an error if it does not come to
// that.
Result<> deliver_urgent(int socket, const peer::UrgentData& urgent, LoopbackSender& inside);

}  // namespace godwit::network
