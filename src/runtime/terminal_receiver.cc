#include "runtime/terminal_receiver.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"

namespace godwit {

Result<std::unique_ptr<TerminalReceiver>> TerminalReceiver::start(std::filesystem::path socket,
                                                                  std::filesystem::path keeper,
                                                                  std::filesystem::path log) {
  std::unique_ptr<TerminalReceiver> receiver(new TerminalReceiver);
  TRY_ASSIGN(receiver->listener_, listen_unix(socket, SOCK_STREAM));
  receiver->socket_ = std::move(socket);
  receiver->keeper_ = std::move(keeper);
  receiver->log_ = std::move(log);
  receiver->thread_ = std::thread([raw = receiver.get()] { raw->serve(); });
  return receiver;
}

TerminalReceiver::~TerminalReceiver() {
  ::shutdown(listener_.get(), SHUT_RDWR);  // ends the accept
  if (thread_.joinable()) thread_.join();
  ::unlink(socket_.c_str());
}

void TerminalReceiver::serve() {
  ScopedFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) return;
  auto packet = receive_packet(connection.get());
  if (!packet || packet->fds.size() != 1) {
    log::error("no terminal came over the console socket");
    return;
  }
  auto started = run_checked({.argv = {keeper_.string(), log_.string()}, .stdin_fd = packet->fds[0].get()},
                             std::chrono::seconds(10));
  if (!started) log::error("start the keeper of the terminal: {}", started.error().text());
}

}  // namespace godwit
