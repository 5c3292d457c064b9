#include "runtime/criu_bridge.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "kernel/cgroup_tree.h"
#include "kernel/pidfd.h"
#include "runtime/criu_log.h"

namespace godwit {

namespace {

struct PointName {
  CriuPoint point;
  const char* name;
};
constexpr PointName kPointNames[] = {
    {CriuPoint::kRequest, "request"},
    {CriuPoint::kPreDump, "pre-dump"},
    {CriuPoint::kPostDump, "post-dump"},
    {CriuPoint::kPostRestore, "post-restore"},
    {CriuPoint::kNamespacesReady, "post-setup-namespaces"},
    {CriuPoint::kNetworkUnlock, "network-unlock"},
    {CriuPoint::kPreResume, "pre-resume"},
    {CriuPoint::kPostResume, "post-resume"},
};

std::optional<CriuPoint> point_named(const std::string& script) {
  for (const auto& [point, name] : kPointNames)
    if (script == name) return point;
  return std::nullopt;
}

std::vector<int> borrowed(const std::vector<ScopedFd>& fds) {
  std::vector<int> numbers;
  for (const ScopedFd& fd : fds) numbers.push_back(fd.get());
  return numbers;
}

std::string notify_answer(bool success) {
  criu::Request answer;
  answer.set_type(criu::NOTIFY);
  answer.set_notify_success(success);
  return answer.SerializeAsString();
}

// Notifications that runC does nothing about for its own containers (libcontainer's criuNotifications). Most of them
// come while the container stands still, and each way to runC and back is a wake-up of two processes.
bool runc_ignores(const std::string& script) {
  return script == "network-lock" || script == "network-unlock" || script == "query-ext-files" ||
         script == "pre-restore" || script == "post-setup-namespaces" || script == "pre-resume" ||
         script == "post-resume" || script == "pre-dump";
}

// Of the process at the other end.
std::vector<std::filesystem::path> cgroups_not_ours(int socket) {
  auto pid = peer_pid(socket);
  auto its = pid ? cgroup_directories(*pid) : Result<std::vector<std::filesystem::path>>(std::unexpected(pid.error()));
  auto ours = cgroup_directories(::getpid());
  if (!its || !ours) return {};
  // Nor what ours are below.
  std::erase_if(*its, [&](const auto& directory) {
    return std::ranges::any_of(*ours,
                               [&](const auto& our) { return *our.lexically_relative(directory).begin() != ".."; });
  });
  return *its;
}

}  // namespace

const char* criu_point_name(CriuPoint point) {
  for (const auto& entry : kPointNames)
    if (entry.point == point) return entry.name;
  return "?";
}

Result<std::unique_ptr<CriuBridge>> CriuBridge::start(Settings settings) {
  std::unique_ptr<CriuBridge> bridge(new CriuBridge(std::move(settings)));
  TRY_ASSIGN(bridge->images_, open_file(bridge->settings_.images_directory, O_RDONLY | O_DIRECTORY));
  TRY_ASSIGN(bridge->work_, open_file(bridge->settings_.work_directory, O_RDONLY | O_DIRECTORY));
  TRY_ASSIGN(bridge->listener_, listen_unix(bridge->settings_.socket, SOCK_SEQPACKET));
  bridge->wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bridge->wake_) return fail_errno("eventfd");
  bridge->thread_ = std::thread([raw = bridge.get()] { raw->serve(); });
  return bridge;
}

CriuBridge::~CriuBridge() {
  refuse();
  stopping_ = true;
  wake();
  if (thread_.joinable()) thread_.join();
  if (listener_) ::unlink(settings_.socket.c_str());
}

void CriuBridge::wake() {
  if (wake_) ::eventfd_write(wake_.get(), 1);
}

void CriuBridge::watch_runc(int pidfd) {
  runc_pidfd_ = pidfd;
  wake();
}

// runC starts criu more than once (it asks for the version first), one after the other.
void CriuBridge::serve() {
  while (!stopping_) {
    pollfd items[3] = {{listener_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {runc_pidfd_.load(), POLLIN, 0}};
    if (::poll(items, 3, -1) < 0 && errno != EINTR) break;
    if (items[1].revents != 0) {
      eventfd_t count;
      ::eventfd_read(wake_.get(), &count);
    }
    if (items[2].revents != 0 && items[0].revents == 0) {
      break_off("runc ended");
      runc_pidfd_ = -1;
    }
    if (items[0].revents == 0) continue;
    ScopedFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) continue;
    if (auto served = serve_connection(std::move(connection)); !served) lose(std::move(served.error()));
  }
  end("godwit stopped waiting for criu");
}

Result<> CriuBridge::serve_connection(ScopedFd criu) {
  TRY_ASSIGN(Packet hello, receive_unless(criu.get(), [this] { return stopping_.load(); }));
  if (hello.bytes != "swrk" || hello.fds.size() != 1) return fail("unexpected greeting");
  const ScopedFd runc = std::move(hello.fds[0]);

  std::string orders = settings_.criu.string();
  orders.push_back('\0');
  const auto add = [&orders](const std::string& variable) { orders += variable + '\0'; };
  if (settings_.lens) {
    add("LD_PRELOAD=" + settings_.lens->library.string());
    add("GODWIT_LENS=" + settings_.lens->directory.string());
  } else if (!settings_.preload.empty()) {
    add("LD_PRELOAD=" + settings_.preload.string());
    std::ranges::for_each(settings_.preload_variables, add);
  }
  orders.push_back('\0');
  std::vector<int> fds;
  for (auto [number, fd] : settings_.descriptors) {
    orders.append(reinterpret_cast<const char*>(&number), sizeof number);
    fds.push_back(fd);
  }
  TRY(send_packet(criu.get(), orders, fds));
  return relay(runc.get(), criu.get());
}

Result<> CriuBridge::relay(int runc, int criu) {
  pollfd items[4] = {{runc, POLLIN, 0}, {criu, POLLIN, 0}, {wake_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
  for (;;) {
    items[3].fd = criu_pidfd_.get();
    if (::poll(items, 4, stopping_ ? 0 : -1) < 0) {
      if (errno == EINTR) continue;
      return fail_errno("poll");
    }
    if (items[2].revents != 0) {
      eventfd_t count;
      ::eventfd_read(wake_.get(), &count);
    }
    if (items[1].revents != 0) {
      TRY_ASSIGN(bool more, pass_response(runc, criu));
      if (!more) return {};
    } else if (items[3].revents != 0) {
      // Tasks it was restoring may still hold its socket.
      if (!answered_) die("without an answer");
      return {};
    } else if (stopping_) {
      return fail("stopped");
    } else if (items[0].revents != 0) {
      TRY(pass_request(runc, criu));
    }
  }
}

// From runC to CRIU: the request, or the answer to a notification.
Result<> CriuBridge::pass_request(int runc, int criu) {
  auto packet = receive_packet(runc);
  if (!packet) {
    ::shutdown(criu, SHUT_WR);
    if (working_) break_off("runc ended");
    return fail(std::move(packet.error()).during("runc ended"));
  }
  criu::Request request;
  if (!request.ParseFromString(packet->bytes)) return fail("runc sent an unreadable request");
  const bool is_work = request.type() == criu::DUMP || request.type() == criu::RESTORE;
  if (!is_work) return send_packet(criu, packet->bytes, borrowed(packet->fds));

  working_ = true;
  {
    TRY_ASSIGN(ScopedFd pidfd, open_peer_pidfd(criu));  // the stub that connected, which criu has taken the place of
    std::lock_guard lock(mutex_);
    criu_pidfd_ = std::move(pidfd);
    if (request.type() == criu::RESTORE) cgroups_ = cgroups_not_ours(criu);
  }
  // CRIU resolves these two in the descriptor table of its peer, which is this process.
  criu::Options& options = *request.mutable_options();
  options.set_images_dir_fd(images_.get());
  options.set_work_dir_fd(work_.get());
  options.set_notify_scripts(true);
  if (settings_.edit_options) settings_.edit_options(options);
  if (!hold(CriuPoint::kRequest, 0)) return fail("refused before the request");
  return send_packet(criu, request.SerializeAsString());
}

// From CRIU to runC: a notification or the final answer. False when CRIU is done.
Result<bool> CriuBridge::pass_response(int runc, int criu) {
  auto packet = receive_packet(criu);
  if (!packet) {
    if (working_ && !answered_) die("without an answer");
    return false;
  }
  criu::Response response;
  if (!response.ParseFromString(packet->bytes)) return fail("criu sent an unreadable answer");
  const std::vector<int> fds = borrowed(packet->fds);

  if (response.type() != criu::NOTIFY) {
    const bool is_work = response.type() == criu::DUMP || response.type() == criu::RESTORE;
    if (is_work || !response.success()) {
      answered_ = true;
      const std::string why = criu_reason(response.error_message());
      if (response.success()) {
        end("criu finished");
      } else {
        break_off("criu failed" + (why.empty() ? "" : ": " + why));
      }
    }
    TRY(send_packet(runc, packet->bytes, fds));
    return true;
  }

  auto point = point_named(response.notify().script());
  const pid_t pid = response.notify().pid();
  // After the dump the tasks' fate is decided before runC records a checkpoint; after the restore runC records the
  // container first, so that nothing of its work is left for after the commit.
  const bool hold_first = point && *point != CriuPoint::kPostRestore;
  if (hold_first && !hold(*point, pid)) {
    TRY(send_packet(criu, notify_answer(false)));
    return true;
  }
  if (runc_ignores(response.notify().script())) {
    TRY(send_packet(criu, notify_answer(true)));
    return true;
  }
  auto answer = ask_runc(runc, *packet, point);
  if (!answer) {
    // Released from post-dump, the copy here is to end, even if runC is not there to hear of it.
    TRY(send_packet(criu, notify_answer(point == CriuPoint::kPostDump)));
    return fail(std::move(answer.error()).during("runc ended at " + response.notify().script()));
  }
  if (point && !hold_first && !hold(*point, pid)) {
    TRY(send_packet(criu, notify_answer(false)));
    return true;
  }
  TRY(send_packet(criu, answer->bytes));
  return true;
}

// runC may take its time, but not longer than the migration has patience.
Result<Packet> CriuBridge::ask_runc(int runc, const Packet& notification, std::optional<CriuPoint> point) {
  TRY(send_packet(runc, notification.bytes, borrowed(notification.fds)));
  return receive_unless(runc, [&] {
    std::lock_guard lock(mutex_);
    return stopping_ || (refused_ && !(point && released_[*point]));
  });
}

// The next packet from SOCKET, unless GIVEN_UP comes to hold first. Wakes up when it may have changed.
Result<Packet> CriuBridge::receive_unless(int socket, const std::function<bool()>& given_up) {
  pollfd items[2] = {{socket, POLLIN, 0}, {wake_.get(), POLLIN, 0}};
  while (!given_up()) {
    if (::poll(items, 2, -1) < 0 && errno != EINTR) return fail_errno("poll");
    if (items[1].revents != 0) {
      eventfd_t count;
      ::eventfd_read(wake_.get(), &count);
    }
    if (items[0].revents != 0) return receive_packet(socket);
  }
  return fail("given up");
}

bool CriuBridge::is_held(CriuPoint point) const {
  return std::ranges::find(settings_.hold_at, point) != settings_.hold_at.end();
}

// Records that CRIU is at POINT and, if it is to be held there, waits. False: it is to fail.
bool CriuBridge::hold(CriuPoint point, pid_t pid) {
  std::unique_lock lock(mutex_);
  arrived_[point] = {Clock::now(), pid};
  changed_.notify_all();
  if (is_held(point)) wait_at(point, lock);
  return released_[point] || !refused_;
}

// CRIU waits for its answer meanwhile and may die of it. Without runC there is no going on.
void CriuBridge::wait_at(CriuPoint point, std::unique_lock<std::mutex>& lock) {
  while (!refused_ && !released_[point]) {
    lock.unlock();
    pollfd items[3] = {{criu_pidfd_.get(), POLLIN, 0}, {runc_pidfd_.load(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    ::poll(items, 3, -1);
    if (items[2].revents != 0) {
      eventfd_t count;
      ::eventfd_read(wake_.get(), &count);
    }
    if (items[0].revents != 0) {
      die(std::string("at ") + criu_point_name(point));
    } else if (items[1].revents != 0) {
      break_off(std::string("runc ended at ") + criu_point_name(point));
    }
    lock.lock();
    if (items[0].revents != 0 || items[1].revents != 0) refused_ = true;
  }
}

Result<pid_t> CriuBridge::await(CriuPoint point, Deadline deadline) {
  std::unique_lock lock(mutex_);
  const bool in_time =
      changed_.wait_until(lock, deadline, [&] { return arrived_.contains(point) || ended_ || refused_; });
  if (auto arrival = arrived_.find(point); arrival != arrived_.end()) return arrival->second.pid;
  const std::string where = std::string(" before ") + criu_point_name(point);
  if (ended_) return fail(end_reason_ + where);
  if (refused_) return fail("given up" + where);
  if (!in_time) return fail("criu did not get to " + std::string(criu_point_name(point)) + " in time");
  return fail("criu stopped" + where);
}

void CriuBridge::release(CriuPoint point) {
  {
    std::lock_guard lock(mutex_);
    released_[point] = true;
  }
  wake();
}

void CriuBridge::refuse() {
  {
    std::lock_guard lock(mutex_);
    refused_ = true;
    changed_.notify_all();
  }
  wake();
}

std::optional<Clock::time_point> CriuBridge::reached_at(CriuPoint point) {
  std::lock_guard lock(mutex_);
  auto arrival = arrived_.find(point);
  if (arrival == arrived_.end()) return std::nullopt;
  return arrival->second.when;
}

std::optional<std::string> CriuBridge::failure() {
  std::lock_guard lock(mutex_);
  if (!ended_) return std::nullopt;
  return end_reason_;
}

std::vector<std::filesystem::path> CriuBridge::restore_cgroups() {
  std::lock_guard lock(mutex_);
  return cgroups_;
}

void CriuBridge::await_end(Deadline deadline) {
  pollfd item{-1, POLLIN, 0};
  {
    std::lock_guard lock(mutex_);
    item.fd = criu_pidfd_.get();
  }
  if (item.fd < 0) return;
  int ready;
  while ((ready = ::poll(&item, 1, poll_ms(deadline))) < 0 && errno == EINTR) {
  }
  if (ready > 0) return;
  log::error("criu hangs and is killed");
  kill_if_alive(item.fd);
  (void)::poll(&item, 1, 1000);
}

void CriuBridge::die(const std::string& when) {
  died_ = true;
  break_off("criu ended " + when);
}

// A connection ended in ERROR. Whoever waits for CRIU is told, unless that is how the migration wanted it.
void CriuBridge::lose(Error error) {
  log::debug("criu bridge: {}", error.text());
  if (!working_ || answered_ || stopping_) return;
  {
    std::lock_guard lock(mutex_);
    if (refused_) return;
  }
  break_off(error.text());
}

void CriuBridge::break_off(std::string reason) {
  if (end(std::move(reason)) && settings_.on_failure) settings_.on_failure();
}

// False if it had ended already.
bool CriuBridge::end(std::string reason) {
  std::lock_guard lock(mutex_);
  if (ended_) return false;
  ended_ = true;
  end_reason_ = std::move(reason);
  changed_.notify_all();
  return true;
}

}  // namespace godwit
