// What a migration needs to know of the host it runs on; filled in from the agent's configuration.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/background_jobs.h"
#include "base/turns.h"
#include "control.pb.h"
#include "migration/hooks.h"
#include "migration/pager_settings.h"
#include "network/cni.h"
#include "network/frame_hold.h"
#include "runtime/runc.h"
#include "transport/peer_timeouts.h"
#include "transport/rate_limit.h"

namespace godwit {

struct Host {
  std::string node;
  RuncPaths runc;
  std::filesystem::path criu;
  std::filesystem::path stream_keeper;  // the helper program
  PagerSettings pager;                  // the program, and what it is told
  std::filesystem::path attacher;       // the helper program
  std::filesystem::path lens;           // the library that is preloaded into criu
  std::filesystem::path run_directory;  // on a tmpfs; migrations work in directories below it
  std::filesystem::path stream_log_directory;
  std::filesystem::path journal;  // directory, on a disk: migration/journal.h
  std::string bridge;             // target: empty means the source's name for it
  bool data_encryption = true;
  std::string data_congestion_control;                  // source, of data connections: transport/congestion_control.h
  control::Tracking tracking = control::TRACKING_AUTO;  // source: for migrations that name none
  uint64_t image_bytes_max = 0;                         // one arriving migration's images
  std::shared_ptr<RateLimit> bandwidth = std::make_shared<RateLimit>(0);  // of all that leaves
  std::chrono::milliseconds step_timeout{60'000};                         // each wait for a peer, runC or CRIU
  std::chrono::milliseconds idle_timeout{20'000};                         // a data connection without progress
  PeerTimeouts peer;
  network::HoldBounds hold;
  std::map<std::string, std::string> links;  // bridges and macvlan parents: name on other hosts to name here
  HookPrograms hooks;
  network::CniPaths cni;
  // What goes on when a migration is over.
  std::shared_ptr<BackgroundJobs> afterwards = std::make_shared<BackgroundJobs>();
  // Of containers that leave at the same moment: a processor that others share makes each downtime longer. The target
  // has as much to do in a switch-over as the source, and both may be one machine.
  std::shared_ptr<Turns> preparations = std::make_shared<Turns>(std::max(2U, std::thread::hardware_concurrency()));
  std::shared_ptr<Turns> switch_overs = std::make_shared<Turns>(std::max(1U, std::thread::hardware_concurrency() / 2));
};

}  // namespace godwit
