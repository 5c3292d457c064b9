// Answers, on one connection, a target that asks for pages of a frozen container: for all that it lacks, after it has
// lost what was sent, or after the agent of either side was killed. Read from the processes when it asks.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "migration/page_frames.h"
#include "transport/data_connection.h"
#include "transport/rate_limit.h"

namespace godwit {

class PageAnswering {
 public:
  // PROCESSES: which is which here. They stand still until this object is gone. LIMIT is this object's alone: what the
  // container waits for counts and does not wait for it.
  PageAnswering(std::unique_ptr<DataConnection> connection, const std::map<SpaceId, pid_t>& processes,
                std::shared_ptr<RateLimit> limit);
  ~PageAnswering();  // cancels
  PageAnswering(const PageAnswering&) = delete;
  PageAnswering& operator=(const PageAnswering&) = delete;

  PageCounts counts() const;  // with the bytes
  // What ended it: the link, an odd request, or a process that has ended, whose memory nobody has then.
  std::optional<Error> failure() const;
  void cancel();
  void end();  // cancels and waits: what it says afterwards is final

 private:
  struct Process {
    pid_t pid = 0;
    ScopedFd pidfd;
  };
  Result<> answer();
  Result<> send(SpaceId space, const Process& process, const PageRange& pages);
  Result<> answer_one(const wire::FrameHeader& header, std::span<const wire::PageRun> runs);

  std::unique_ptr<DataConnection> connection_;
  std::shared_ptr<RateLimit> limit_;
  std::map<SpaceId, Process> processes_;
  PageFrameSender frames_;
  mutable std::mutex mutex_;  // guards what follows
  PageCounts counts_;
  std::optional<Error> failure_;
  std::jthread thread_;
};

}  // namespace godwit
