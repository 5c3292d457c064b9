// The freeze, when every TCP connection of the container belongs to a process (network/tcp_moment.h): new ones are held
// from shortly before on, until those that are under way have been accepted, or closed.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "kernel/cgroup_freezer.h"
#include "network/frame_hold.h"
#include "network/tcp_moment.h"

namespace godwit {

struct QuietFreeze {
  Clock::time_point frozen_at{};   // just before
  std::vector<std::string> notes;  // what of its connections is left behind
};

// The container is frozen afterwards, unless there is an error. WATCH may be null: then nothing is waited for.
Result<QuietFreeze> freeze_quietly(const CgroupFreezer& freezer, network::FrameHold& hold, network::TcpWatch* watch);

}  // namespace godwit
