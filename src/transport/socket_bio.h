// OpenSSL's way to a socket: recv(2) and send(2) with MSG_NOSIGNAL. Its own socket BIO writes with
// write(2), and a peer that goes away would kill the agent with SIGPIPE.
#pragma once

#include "transport/openssl.h"

namespace godwit {

// SOCKET is borrowed and non-blocking.
BioPtr make_socket_bio(int socket);

// What is written to BIO from now on waits for BIO_flush, which fails with errno EAGAIN while the socket has no room,
// or until there is more of it than one segment on its way through the kernel takes.
void gather_writes(BIO* bio);

}  // namespace godwit
