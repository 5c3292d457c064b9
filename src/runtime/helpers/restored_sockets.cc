// Preloaded into the criu process of a restore: three mends of how CRIU 4.2 restores TCP sockets (soccr/soccr.c), which
// it does in the restored processes while they are still criu.
//
// A FIN that had been received is restored by sending one to the socket. CRIU puts its own window of 32 bits into that
// segment's 16, where the peer's belongs: 65536 becomes 0, and a half-closed socket sends nothing more until a window
// probe, a second later. Here the segment gets the peer's window, as it was set a moment before (TCP_REPAIR_WINDOW),
// scaled.
//
// Data that had not been sent yet is restored outside repair mode, and leaving that mode sends a window probe. If the
// peer is a socket of the same container that is not there yet, the answer is a reset. Here that probe is not sent. The
// one that matters, when all sockets live, is sent by a part of CRIU that is not linked with libraries.
//
// A connection whose ends did not agree on window scaling is restored without a word about it, and the kernel keeps the
// scale that a new connection would have offered: the window it then announces is some 8 bytes. Here the scales are set
// to 0.
//
// As the lens, it must load in a criu with another C library than it was built with: only old symbols, nothing of
// C++'s.
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/helpers/restored_userns.h"

namespace {

constexpr int kRepair = 19, kRepairOptions = 22, kRepairWindow = 29;  // linux/tcp.h: TCP_REPAIR…
constexpr int kRepairOffWithoutProbe = -1;                            // TCP_REPAIR_OFF_NO_WP, Linux 4.19
constexpr uint32_t kOptionWindow = 3;                                 // TCPOPT_WINDOW
constexpr size_t kOptionsMax = 8;                                     // CRIU sets four
constexpr int kCriuMark = 0xc114;                                     // soccr.h: SOCCR_MARK

struct Option {  // struct tcp_repair_opt
  uint32_t code, value;
};
struct Window {  // struct tcp_repair_window
  uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup;
};

// Of the socket that CRIU is restoring: it sends the FIN right after it has set these.
uint32_t peer_window = 0;
uint32_t peer_scale = 0;

__attribute__((constructor)) void start() { unsetenv("LD_PRELOAD"); }  // what CRIU starts is no business of ours

// Returns the number of bytes of VALUE in OPTIONS, which has room for one more.
socklen_t with_window_option(const void* value, socklen_t length, Option (&options)[kOptionsMax + 1]) {
  const size_t count = length / sizeof(Option);
  memcpy(options, value, length);
  for (size_t i = 0; i < count; ++i) {
    if (options[i].code != kOptionWindow) continue;
    peer_scale = options[i].value & 0xffff;
    return length;
  }
  peer_scale = 0;
  options[count].code = kOptionWindow;
  options[count].value = 0;
  return static_cast<socklen_t>(length + sizeof(Option));
}

bool is_criu_raw_socket(int fd) {
  int type = 0, mark = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_RAW) return false;
  size = sizeof mark;
  return getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size) == 0 && mark == kCriuMark;
}

// Offset of the TCP header in an IP packet; 0: none.
size_t tcp_header_in(const unsigned char* packet, size_t size) {
  size_t at = 0;
  if (size >= sizeof(iphdr) && packet[0] >> 4 == 4 && packet[9] == IPPROTO_TCP) at = size_t{packet[0] & 15U} * 4;
  if (size >= sizeof(ip6_hdr) && packet[0] >> 4 == 6 && packet[6] == IPPROTO_TCP) at = sizeof(ip6_hdr);
  return at != 0 && at + sizeof(tcphdr) <= size ? at : 0;
}

// RFC 1624: the checksum after one of its 16-bit words has changed.
uint16_t adjusted(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum = static_cast<uint16_t>(~checksum) + static_cast<uint32_t>(static_cast<uint16_t>(~before)) + after;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void set_window(tcphdr& header) {
  const uint32_t scaled = peer_window >> (peer_scale < 15 ? peer_scale : 14);
  const uint16_t window = htons(static_cast<uint16_t>(scaled < 0xffff ? scaled : 0xffff));
  header.check = adjusted(header.check, header.window, window);
  header.window = window;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int setsockopt(int fd, int level, int option, const void* value,
                                                      socklen_t length) noexcept {
  int off_without_probe = kRepairOffWithoutProbe;
  Option options[kOptionsMax + 1];
  if (level == IPPROTO_TCP && value != nullptr) {
    if (option == kRepair && length == sizeof(int) && *static_cast<const int*>(value) == 0) value = &off_without_probe;
    if (option == kRepairOptions && length <= kOptionsMax * sizeof(Option)) {
      length = with_window_option(value, length, options);
      value = options;
    }
    if (option == kRepairWindow && length >= sizeof(Window)) peer_window = static_cast<const Window*>(value)->snd_wnd;
  }
  const long result = syscall(SYS_setsockopt, fd, level, option, value, length);
  if (result != 0 && userns::was_refused()) {
    if (level == IPPROTO_TCP && option == kRepair) return userns::set_tcp_repair(fd, *static_cast<const int*>(value));
    if (level == SOL_SOCKET && option == SO_MARK && is_criu_raw_socket(fd)) return 0;  // it came with its mark
  }
  return static_cast<int>(result);
}

__attribute__((visibility("default"))) ssize_t sendto(int fd, const void* data, size_t size, int flags,
                                                      const sockaddr* to, socklen_t length) {
  unsigned char packet[128];
  const size_t at = size <= sizeof packet ? tcp_header_in(static_cast<const unsigned char*>(data), size) : 0;
  if (at != 0 && is_criu_raw_socket(fd)) {
    tcphdr header;
    memcpy(packet, data, size);
    memcpy(&header, packet + at, sizeof header);
    set_window(header);
    memcpy(packet + at, &header, sizeof header);
    data = packet;
  }
  return syscall(SYS_sendto, fd, data, size, flags, to, length);
}

}  // extern "C"
