// OpenSSL's way to a socket: recv(2) and send(2) with MSG_NOSIGNAL. Its own socket BIO writes with
// write(2), and a peer that goes away would kill the agent with SIGPIPE.
#pragma once

#include "transport/openssl.h"

namespace godwit {

// SOCKET is borrowed and non-blocking.
BioPtr make_socket_bio(int socket);

}  // namespace godwit
