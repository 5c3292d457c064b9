// For tests: a real criu that is started as runC starts it, runC's end of their conversation, and what is dumped.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/test_support.h"
#include "base/unix_socket.h"
#include "criu_rpc.pb.h"
#include "runtime/criu_bridge.h"
#include "tracee/test_process.h"

namespace godwit {

// Beside the test programs in the build tree.
inline std::filesystem::path helpers_directory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "libexec";
}

// The one that tools/bootstrap chose, else the system's.
inline std::filesystem::path test_criu() {
  const std::filesystem::path chosen = "/opt/godwit/criu/bin/criu";
  return std::filesystem::exists(chosen) ? chosen : "/usr/sbin/criu";
}

// A child as CRIU wants one: a session of its own, no descriptor that others have an end of.
inline void become_dumpable() {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, 0);  // it would be restored, and its parent then is criu
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd : {0, 1, 2}) ::dup2(null, fd);
  ::close_range(3, ~0U, 0);
}

inline auto sleeping_program() {
  return [] {
    become_dumpable();
    ::execl("/bin/sleep", "sleep", "1000", nullptr);
  };
}

inline std::pair<ScopedFd, ScopedFd> packet_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("socketpair");
  return {ScopedFd(ends[0]), ScopedFd(ends[1])};
}

// One packet that must come within 20 s.
inline Packet hear_packet(int socket) {
  pollfd item{socket, POLLIN, 0};
  if (::poll(&item, 1, 20'000) != 1) throw std::runtime_error("nothing was said");
  return must(receive_packet(socket));
}

inline bool is_closed(int socket) {
  pollfd item{socket, POLLIN, 0};
  char byte;
  return ::poll(&item, 1, 20'000) == 1 && ::recv(socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK) <= 0;
}

inline criu::Request request_of(criu::Type type) {
  criu::Request request;
  request.set_type(type);
  return request;
}

// Of process PID. Fields that godwit does not know are set by their numbers in CRIU's rpc.proto.
inline criu::Request dump_request(pid_t pid) {
  constexpr int kPidField = 2;
  criu::Request request = request_of(criu::DUMP);
  criu::Options& options = *request.mutable_options();
  options.set_images_dir_fd(-1);
  options.set_log_file("dump.log");
  options.set_log_level(4);
  options.set_network_lock(criu::NETWORK_LOCK_SKIP);
  options.GetReflection()->MutableUnknownFields(&options)->AddVarint(kPidField, static_cast<uint64_t>(pid));
  return request;
}

inline criu::Request restore_request() {
  criu::Request request = request_of(criu::RESTORE);
  criu::Options& options = *request.mutable_options();
  options.set_images_dir_fd(-1);
  options.set_log_file("restore.log");
  options.set_log_level(4);
  return request;
}

// A criu as runC starts it, which is our stub, and runC's end of the socket.
class TestRunc {
 public:
  explicit TestRunc(const std::filesystem::path& bridge_socket) : TestRunc(bridge_socket, packet_pair()) {}

  void say(const criu::Request& request) { must(send_packet(end_.get(), request.SerializeAsString())); }
  void say_bytes(const std::string& bytes) { must(send_packet(end_.get(), bytes)); }
  criu::Response hear() {
    criu::Response response;
    if (!response.ParseFromString(hear_packet(end_.get()).bytes)) throw std::runtime_error("unreadable");
    return response;
  }
  void answer(bool success) {
    criu::Request request = request_of(criu::NOTIFY);
    request.set_notify_success(success);
    say(request);
  }
  // Agrees with every notification; returns the final answer. scripts() has what it was told.
  criu::Response agree_to_the_end() {
    for (;;) {
      criu::Response response = hear();
      if (response.type() != criu::NOTIFY) return response;
      {
        std::lock_guard lock(mutex_);
        scripts_.push_back(response.notify().script());
      }
      answer(true);
    }
  }
  std::vector<std::string> scripts() const {
    std::lock_guard lock(mutex_);
    return scripts_;
  }
  bool closed() const { return is_closed(end_.get()); }
  void hang_up() { end_.reset(); }
  TestProcess& criu() { return criu_; }
  int socket() const { return end_.get(); }

 private:
  TestRunc(const std::filesystem::path& bridge_socket, std::pair<ScopedFd, ScopedFd> ends)
      : end_(std::move(ends.first)), criu_([&] {
          const int rpc = ::dup(ends.second.get());  // without close-on-exec
          ::setenv("GODWIT_CRIU_SOCKET", bridge_socket.c_str(), 1);
          ::execl((helpers_directory() / "stub/criu").c_str(), "criu", "swrk", std::to_string(rpc).c_str(), nullptr);
          ::_exit(127);
        }) {}

  ScopedFd end_;
  mutable std::mutex mutex_;
  std::vector<std::string> scripts_;  // under the mutex
  TestProcess criu_;
};

// What a bridge needs, and what it has said.
class BridgeScene {
 public:
  BridgeScene() {
    must(make_directories(directory_ / "images"));
    must(make_directories(directory_ / "work"));
  }
  CriuBridge& start(std::vector<CriuPoint> hold_at, std::optional<Lens> lens = std::nullopt) {
    bridge_ = must(CriuBridge::start({.socket = socket(),
                                      .criu = test_criu(),
                                      .images_directory = images(),
                                      .work_directory = directory_ / "work",
                                      .descriptors = {},
                                      .edit_options = edit_options,
                                      .hold_at = std::move(hold_at),
                                      .on_failure = [this] { ++failures_; },
                                      .lens = std::move(lens)}));
    return *bridge_;
  }
  void stop() { bridge_.reset(); }
  int failures() const { return failures_; }
  std::filesystem::path socket() const { return directory_ / "criu.sock"; }
  std::filesystem::path images() const { return directory_ / "images"; }
  const ScopedDirectory& directory() const { return directory_; }
  std::string log(const std::string& name) const { return read_file(directory_ / "work" / name).value_or(""); }

  std::function<void(criu::Options&)> edit_options;

 private:
  ScopedDirectory directory_;
  std::atomic<int> failures_ = 0;
  std::unique_ptr<CriuBridge> bridge_;
};

}  // namespace godwit
