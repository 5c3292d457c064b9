#include "transport/data_listener.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <utility>

#include "base/log.h"
#include "transport/socket.h"

namespace godwit {

namespace {

// How long to leave the queue alone when the process has no descriptor left for another connection.
constexpr milliseconds kDescriptorsScarceWait{100};

}  // namespace

DataListener::DataListener(TlsContext context, DataListenerOptions options, DataClaim claim, DataRoute route,
                           ScopedFd socket, ScopedFd wake)
    : handshakes_(std::move(context), std::move(options), std::move(claim), std::move(route)),
      socket_(std::move(socket)),
      wake_(std::move(wake)),
      address_(local_address(socket_.get())) {}

DataListener::~DataListener() { stop(); }

Result<std::unique_ptr<DataListener>> DataListener::start(TlsContext context, DataListenerOptions options,
                                                          DataClaim claim, DataRoute route) {
  TRY_ASSIGN(ScopedFd socket, listen_tcp(options.address));
  ScopedFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("eventfd");
  std::unique_ptr<DataListener> listener(new DataListener(std::move(context), std::move(options), std::move(claim),
                                                          std::move(route), std::move(socket), std::move(wake)));
  listener->acceptor_ = std::thread([raw = listener.get()] { raw->accept_loop(); });
  return listener;
}

void DataListener::stop() {
  handshakes_.refuse_more();
  ::eventfd_write(wake_.get(), 1);
  if (acceptor_.joinable()) acceptor_.join();
  handshakes_.stop();
  socket_.reset();
}

void DataListener::accept_loop() {
  for (;;) {
    pollfd items[] = {{wake_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
    if (::poll(items, 2, -1) < 0 && errno != EINTR) log::error("data listener: poll: errno {}", errno);
    if (items[0].revents != 0) return;
    ScopedFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    const int code = errno;
    if (socket) {
      handshakes_.begin(std::move(socket));
    } else if (code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM) {
      log::error("data listener: cannot accept a connection: errno {}", code);
      ::poll(items, 1, static_cast<int>(kDescriptorsScarceWait.count()));
    }
  }
}

}  // namespace godwit
