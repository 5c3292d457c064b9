// Network namespaces: opening, entering on one thread, and keeping one under a name as `ip netns`
// does.
#pragma once

#include <filesystem>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// Opens the network namespace that PATH names (/run/netns/NAME, /proc/PID/ns/net). An error if PATH
// is anything else.
Result<ScopedFd> open_netns(const std::filesystem::path& path);

// That of the calling thread.
Result<ScopedFd> open_current_netns();

// Whether it belongs to the user namespace of the caller, not to one below: root of a container has no rights over it.
Result<bool> is_own_netns(int netns_fd);

// Whether two descriptors name the same namespace.
Result<bool> same_netns(int a, int b);

// The calling thread is in another network namespace until the end of scope. Sockets opened
// meanwhile stay in it. Destroy on the thread that entered. If the way back fails the process
// aborts: a thread of the agent in a container's namespace would act on the wrong host.
class ScopedNetns {
 public:
  static Result<ScopedNetns> enter(int netns_fd);
  ScopedNetns(ScopedNetns&&) = default;
  ScopedNetns& operator=(ScopedNetns&&) = delete;
  ~ScopedNetns();

 private:
  explicit ScopedNetns(ScopedFd home) : home_(std::move(home)) {}
  ScopedFd home_;  // empty once moved from
};

// Calls F, which returns a Result, with the calling thread in that namespace.
template <typename F>
auto in_netns(int netns_fd, F&& f) -> std::invoke_result_t<F> {
  TRY_ASSIGN(auto inside, ScopedNetns::enter(netns_fd));
  return std::forward<F>(f)();
}

// Makes a new network namespace that stays until removed, bind-mounted at PATH; missing directories
// are made. PATH must not exist. Below /run/netns, `ip netns` knows it. No thread of the caller
// changes its namespace.
Result<> create_named_netns(const std::filesystem::path& path);

// Unmounts and removes PATH; fine if it is gone already. The kernel frees the namespace when the
// last process and descriptor leave it.
Result<> remove_named_netns(const std::filesystem::path& path);

}  // namespace godwit
