// What `godwit check` asks: whether a migration would begin, and what it would meet, on both hosts. Nothing is changed.
#pragma once

#include <string>

#include "control.pb.h"
#include "migration/control_channel.h"
#include "migration/host.h"

namespace godwit {

// The pre-flight alone. What cannot be found out, such as an unreachable TARGET (node name), is among the problems.
control::CheckReply check_migration(const Host& host, PeerConnector& peers, const std::string& container,
                                    const std::string& target);

}  // namespace godwit
