// What a CRIU that restores into a user namespace asks the agent to do for it (helpers/restored_userns.cc asks,
// runtime/privileged_service.h answers): one packet on a SOCK_SEQPACKET connection, with a socket for the answer, which
// is one packet too.
#pragma once

#include <stdint.h>

namespace godwit {

inline constexpr char kPrivilegedVariable[] = "GODWIT_PRIVILEGED";  // has the path of the agent's socket

struct PrivilegedRequest {
  enum Kind : uint32_t {
    kUserfaultfdDevice = 1,  // answered with /dev/userfaultfd, open
    kNetworkNamespace = 2,   // with the container's
    kRawSocket = 3,          // with socket(domain, SOCK_RAW, IPPROTO_RAW), marked as CRIU marks it, in that namespace
    kTcpRepair = 4,          // setsockopt(TCP_REPAIR, value) of a socket that comes as a second descriptor
    kMount = 5,              // with a detached clone of the mount at path, one of the container's external ones
  };
  uint32_t kind;
  int32_t value;   // kRawSocket: AF_INET or AF_INET6; kTcpRepair: the option's
  char path[512];  // kMount; ends with a zero
};

// Of a request that is answered with a descriptor, it comes along if error is 0.
struct PrivilegedAnswer {
  int32_t error;  // errno
};

}  // namespace godwit
