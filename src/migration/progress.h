// What a running migration tells whoever watches it.
#pragma once

#include <cstdint>
#include <string>

namespace godwit {

class ProgressListener {
 public:
  virtual ~ProgressListener() = default;
  virtual void phase_begins(const std::string& phase, const std::string& text) = 0;
  // Within a phase; BYTES_EXPECTED is 0 if not known. Called at most every 100 ms.
  virtual void bytes_sent(uint64_t bytes, uint64_t bytes_expected) = 0;
};

}  // namespace godwit
