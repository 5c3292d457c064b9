// Part of mends.so: what CRIU reads as the image of a TCP connection comes from the pack (connection_pack.h). CRIU
// opens such a file, reads it to its end and closes it before it opens another.
//
// The descriptor that CRIU gets is for the moment, as its own would be: a number that stayed in use could be one that
// the restored process needs.
//
// Plain C, as restored_sockets.cc.
#pragma once

#include <sys/types.h>

namespace images {

// A descriptor for the image NAME of a connection; negative if it is not in the pack.
int open_packed(int directory, const char* name, int flags);
// Whether FD is what CRIU has open.
bool is_packed(int fd);
ssize_t read_packed(void* buffer, size_t bytes);
int close_packed();

}  // namespace images
