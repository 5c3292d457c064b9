// What the agent tells the lens (helpers/lens.cc): which memory of which process CRIU is not to see.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/page.h"
#include "base/result.h"

namespace godwit {

struct Lens {
  std::filesystem::path library;
  std::filesystem::path directory;  // of the files below; exists
};

// Before CRIU looks at process PID. OWNED is left out of its dump; SMAPS, if not empty, is what it reads in place of
// /proc/PID/smaps. UNGUARDED: OWNED has no guard pages, so CRIU need not look for any there.
Result<> write_lens(const std::filesystem::path& directory, pid_t pid, const PageRanges& owned,
                    const std::string& smaps, bool unguarded = false);

// Before CRIU looks at any process: shared memory whose content is left out of its dump, device and inode number of
// each.
Result<> write_lens_objects(const std::filesystem::path& directory,
                            const std::vector<std::pair<uint64_t, uint64_t>>& objects);

// Before CRIU looks at any socket: there is no lock on one (socket_locks.h), so the lens may answer for them.
Result<> write_lens_unlocked_sockets(const std::filesystem::path& directory);

// An error says why CRIU cannot be kept from dumping memory: no library, a static or a set-user-id program.
Result<> check_lens(const std::filesystem::path& library, const std::filesystem::path& criu);

}  // namespace godwit
