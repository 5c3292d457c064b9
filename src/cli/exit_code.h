// Exit statuses of the godwit command; godwit(1) documents them and scripts depend on them.
#pragma once

#include "base/result.h"
#include "control.pb.h"

namespace godwit::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // also: check found problems
inline constexpr int kExitUsage = 2;
inline constexpr int kExitRolledBack = 3;   // the container runs on the source
inline constexpr int kExitUnreachable = 4;  // no agent answers on the socket
inline constexpr int kExitQuit = 130;       // second ^C: as a shell reports SIGINT

inline int exit_code_of(const control::Report& report) {
  if (report.outcome() == "migrated") return kExitOk;
  return report.outcome() == "rolled_back" ? kExitRolledBack : kExitFailed;
}

// ERROR is one of AgentClient's: its code is 0 if and only if the agent itself answered.
inline int exit_code_of(const Error& error) { return error.code() == 0 ? kExitFailed : kExitUnreachable; }

}  // namespace godwit::cli
