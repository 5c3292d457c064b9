// Stands between runC and CRIU. runC finds our stub as `criu` (helpers/criu_stub.cc); the stub passes runC's end of
// the RPC here and becomes the real criu, whose peer we are. The bridge relays their messages, edits the dump or
// restore request, and holds CRIU at chosen points until the migration says how to go on. So the order of a
// migration is decided in src/migration, without action scripts, configuration files or changed programs.
//
// If the agent dies, criu's socket closes: a dump then fails and CRIU resumes the container; a restore that has not
// passed post-restore fails and CRIU kills what it restored.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "base/unix_socket.h"
#include "criu_rpc.pb.h"
#include "runtime/lens_files.h"

namespace godwit {

// Where CRIU can be held. Names are those of CRIU's notifications, kRequest is the request itself.
enum class CriuPoint {
  kRequest,          // runC has asked; CRIU has started and not yet been told
  kPreDump,          // CRIU is ready to dump; the tasks still run
  kPostDump,         // the images are complete; the tasks are stopped. Refusing makes CRIU resume them
  kNamespacesReady,  // restoring: namespaces and mounts are made, no memory has been read from the images
  kPostRestore,      // everything is restored and runC has recorded it; nothing runs. Refusing makes CRIU kill it
  kNetworkUnlock,    // the sockets leave repair mode next, and send
  kPreResume,        // sockets live again, tasks stand at their last system call
  kPostResume,       // the tasks run
};
const char* criu_point_name(CriuPoint point);

class CriuBridge {
 public:
  struct Settings {
    std::filesystem::path socket;  // made here; must not exist
    std::filesystem::path criu;    // the real one
    std::filesystem::path images_directory;
    std::filesystem::path work_directory;              // CRIU's log goes there
    std::vector<std::pair<int, int>> descriptors;      // number in criu → descriptor of ours, borrowed
    std::function<void(criu::Options&)> edit_options;  // of the dump or restore request
    std::vector<CriuPoint> hold_at;
    // runC or CRIU has gone before its time, see failure(). Called at once, from the bridge's thread.
    std::function<void()> on_failure;
    // Of a dump: what CRIU is not to see.
    std::optional<Lens> lens = std::nullopt;
    // Of a restore: a library to preload into CRIU; none if empty. A CRIU that cannot be preloaded runs without it.
    std::filesystem::path preload = {};
    std::vector<std::string> preload_variables = {};  // for that library, "NAME=VALUE": whom it asks for what
  };

  static Result<std::unique_ptr<CriuBridge>> start(Settings settings);
  ~CriuBridge();  // refuses whatever is held and ends the relay
  CriuBridge(const CriuBridge&) = delete;
  CriuBridge& operator=(const CriuBridge&) = delete;

  // Waits until CRIU stands at POINT (or, if it is not held there, has passed it). Returns the pid CRIU reported
  // (the container's first process), 0 if none. An error if CRIU failed or ended before, with what it said.
  Result<pid_t> await(CriuPoint point, Deadline deadline);
  // Lets CRIU go on from POINT where it is held, or will be.
  void release(CriuPoint point);
  // Makes every held point fail, now and later.
  void refuse();
  // PIDFD of the runC that was started; borrowed. If it ends without having asked CRIU for anything, waits end too.
  void watch_runc(int pidfd);
  // When CRIU reached POINT.
  std::optional<Clock::time_point> reached_at(CriuPoint point);
  // What came between, if something did: runC or CRIU ended, or CRIU gave up.
  std::optional<std::string> failure();
  // Waits for the end of CRIU, whatever has become of runC, and kills it at DEADLINE.
  void await_end(Deadline deadline);
  // The directories of the cgroups that runC has made for a restore, and has started CRIU in; this process's own are
  // not among them. Nobody else knows them if runC is killed before it has recorded the container.
  std::vector<std::filesystem::path> restore_cgroups();
  // CRIU did not end by itself: what it had stopped runs, and sockets it was dumping may be in repair mode.
  bool died() const { return died_; }

 private:
  explicit CriuBridge(Settings settings) : settings_(std::move(settings)) {}
  void serve();
  void wake();
  Result<> serve_connection(ScopedFd criu);
  Result<> relay(int runc, int criu);
  Result<> pass_request(int runc, int criu);
  Result<bool> pass_response(int runc, int criu);
  Result<Packet> ask_runc(int runc, const Packet& notification, std::optional<CriuPoint> point);
  Result<Packet> receive_unless(int socket, const std::function<bool()>& given_up);
  bool hold(CriuPoint point, pid_t pid);
  void wait_at(CriuPoint point, std::unique_lock<std::mutex>& lock);
  void die(const std::string& when);
  void lose(Error error);
  void break_off(std::string reason);
  bool is_held(CriuPoint point) const;
  bool end(std::string reason);

  Settings settings_;
  ScopedFd listener_;
  ScopedFd wake_;  // eventfd: stop, or a pidfd to watch
  std::atomic<bool> stopping_ = false;
  std::atomic<int> runc_pidfd_ = -1;
  std::atomic<bool> died_ = false;
  bool answered_ = false;  // CRIU has given its final answer; serving thread only
  bool working_ = false;   // the dump or restore has been asked for; serving thread only
  ScopedFd images_;
  ScopedFd work_;
  std::thread thread_;

  struct Arrival {
    Clock::time_point when;
    pid_t pid;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  ScopedFd criu_pidfd_;  // of the one that dumps or restores; written under the mutex by the serving thread
  std::vector<std::filesystem::path> cgroups_;
  std::map<CriuPoint, Arrival> arrived_;
  std::map<CriuPoint, bool> released_;
  bool refused_ = false;
  bool ended_ = false;
  std::string end_reason_;
};

}  // namespace godwit
