// libFuzzer's entry points: $FUZZ_TARGET names the target.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "target.h"

static void (*run)(std::string_view) = nullptr;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* wanted = std::getenv("FUZZ_TARGET");
  for (const auto& target : godwit::fuzz::targets())
    if (wanted != nullptr && std::strcmp(target.name, wanted) == 0) run = target.run;
  if (run != nullptr) return 0;
  std::fprintf(stderr, "FUZZ_TARGET must be one of:");
  for (const auto& target : godwit::fuzz::targets()) std::fprintf(stderr, " %s", target.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  run({reinterpret_cast<const char*>(data), size});
  return 0;
}
