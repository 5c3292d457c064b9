// Part of mends.so: shared memory that the agent has for the container, see restored_objects.cc.
#pragma once

namespace objects {

// CRIU is about to open PATH. If that is the content of an object that the agent has, the object takes the place of the
// memfd that CRIU has made for it. False: it cannot, and the restore must not go on.
bool give_what_is_opened(const char* path);

}  // namespace objects
