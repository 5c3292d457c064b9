// What a running migration tells whoever watches it.
#pragma once

#include <cstdint>
#include <string>

#include "control.pb.h"

namespace godwit {

class ProgressListener {
 public:
  virtual ~ProgressListener() = default;
  virtual void phase_begins(const std::string& phase, const std::string& text) = 0;
  // Within a phase; BYTES_EXPECTED is 0 if not known. Called at most every 100 ms.
  virtual void bytes_sent(uint64_t bytes, uint64_t bytes_expected) = 0;
  // Rounds are counted from 1.
  virtual void round_ended(uint32_t number, const control::Round& round) = 0;
  // After the resume, while pages still follow.
  virtual void pages_left(uint64_t pages) = 0;
};

}  // namespace godwit
