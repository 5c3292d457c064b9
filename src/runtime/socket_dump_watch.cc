#include "runtime/socket_dump_watch.h"

#include <sys/socket.h>

#include "base/unix_socket.h"

namespace godwit {

Result<std::unique_ptr<SocketDumpWatch>> SocketDumpWatch::start(const std::filesystem::path& directory,
                                                                std::function<void()> at_first) {
  std::unique_ptr<SocketDumpWatch> watch(new SocketDumpWatch);
  TRY_ASSIGN(watch->listener_, listen_unix(directory / "sockets", SOCK_STREAM));
  watch->thread_ = std::thread([listener = watch->listener_.get(), at_first = std::move(at_first)] {
    const ScopedFd criu(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (criu) at_first();
  });
  return watch;
}

SocketDumpWatch::~SocketDumpWatch() {
  ::shutdown(listener_.get(), SHUT_RDWR);  // ends the accept
  if (thread_.joinable()) thread_.join();
}

}  // namespace godwit
