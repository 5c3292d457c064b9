// What the target knows of a region at the freeze.
#pragma once

#include <bitset>

#include "base/page.h"

namespace godwit {

struct RegionMap {
  RemoteAddr start;                   // aligned to kRegionBytes
  std::bitset<kRegionPages> present;  // pages with content; all others read as zero
  std::bitset<kRegionPages> owed;     // of those: not sent yet
};

}  // namespace godwit
