// A fuzz target: a parser of bytes that come from a peer, an image, a container or a user's file, with what must hold
// of everything it accepts. All targets are in one program; libFuzzer's (fuzz/libfuzzer.cc, preset fuzz) finds new
// inputs, the plain one (fuzz/replay.cc, every preset) tries the corpus and small changes to it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::fuzz {

struct Target {
  const char* name;  // also the directory of its corpus below fuzz/corpus
  void (*run)(std::string_view input);
};

inline std::vector<Target>& targets() {
  static std::vector<Target> all;
  return all;
}

struct Registration {
  Registration(const char* name, void (*run)(std::string_view)) { targets().push_back({name, run}); }
};

// What must hold of whatever was accepted.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// Takes an input apart.
class Cutter {
 public:
  explicit Cutter(std::string_view input) : rest_(input) {}
  bool empty() const { return rest_.empty(); }
  unsigned byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  // Of a length that the input says, up to 65535.
  std::string_view piece() {
    const size_t high = byte();
    return next(high * 256 + byte());
  }
  std::string_view next(size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace godwit::fuzz

#define GODWIT_FUZZ_TARGET(name)                                              \
  static void run_##name(std::string_view input);                             \
  static const ::godwit::fuzz::Registration name##_target(#name, run_##name); \
  static void run_##name(std::string_view input)
