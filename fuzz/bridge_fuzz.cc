// What runC and CRIU say to each other by way of the bridge: messages of either side in any order.
#include <sys/socket.h>
#include <sys/un.h>

#include "runtime/test_criu.h"
#include "target.h"

using namespace godwit;

namespace {

ScopedFd connect_to(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  ScopedFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
  return fd;
}

}  // namespace

// Each piece is a message; the byte before it says whose.
GODWIT_FUZZ_TARGET(criu_messages) {
  BridgeScene scene;
  CriuBridge& bridge = scene.start({CriuPoint::kPostDump});
  bridge.release(CriuPoint::kPostDump);
  ScopedFd criu = connect_to(scene.socket());
  auto [runc, theirs] = packet_pair();
  (void)send_packet(criu.get(), "swrk", {theirs.get()});
  fuzz::Cutter cut(input);
  for (int messages = 0; messages < 16 && !cut.empty(); ++messages) {
    const int from = cut.byte() % 2 == 0 ? runc.get() : criu.get();
    const std::string_view message = cut.piece();
    if (!message.empty()) (void)!::send(from, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  criu.reset();
  runc.reset();
  (void)bridge.failure();
  scene.stop();
}
