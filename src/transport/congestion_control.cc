#include "transport/congestion_control.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>

#include "base/scoped_fd.h"
#include "transport/socket.h"

namespace godwit {

namespace {

using std::chrono::microseconds;

// To learn the delay of an empty link, BBR lets next to nothing through for 0.2 s in each 10 s (ProbeRTT; ACM Queue
// 14:5, 2016). That is a fiftieth of a nearby link's rate, and may fall into a freeze, where it is several times the
// downtime.
constexpr const char* kPausing = "bbr";
constexpr const char* kSteady = "cubic";

// What BBR is for, losses on long ways, CUBIC gets over by itself up to here: after one at 1 Gbit/s, which takes three
// tenths of 420 segments under way, it has its rate again within 1.2 s, at 0.53 more for each round trip (RFC
// 9438, 4.3).
constexpr microseconds kNearby{5'000};

Result<> set(int socket, const std::string& name) {
  if (::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) == 0)
    return {};
  if (errno == ENOENT) return fail(Error("the kernel has no congestion control '" + name + "'", ENOENT));
  return fail_errno("use congestion control '" + name + "'");
}

bool paced_by(int socket, const char* name) {
  char in_use[16] = {};  // TCP_CA_NAME_MAX
  socklen_t size = sizeof in_use;
  return ::getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, in_use, &size) == 0 &&
         std::strncmp(in_use, name, sizeof in_use) == 0;
}

}  // namespace

Result<> use_congestion_control(int socket, const std::string& name) {
  if (!name.empty()) return set(socket, name);
  if (!paced_by(socket, kPausing)) return {};
  const auto round_trip = shortest_round_trip(socket);
  if (!round_trip || *round_trip > kNearby) return {};
  // A kernel without CUBIC keeps BBR, which works as well, if less evenly.
  if (auto steady = set(socket, kSteady); !steady && steady.error().code() != ENOENT) return steady;
  return {};
}

Result<> check_congestion_control(const std::string& name) {
  if (name.empty()) return {};
  const ScopedFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  return set(socket.get(), name);
}

}  // namespace godwit
