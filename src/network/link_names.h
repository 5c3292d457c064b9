// Links by index and by name: netlink speaks of the one, messages between hosts of the other.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"

namespace godwit::network {

class LinkNames {
 public:
  void add(uint32_t index, const std::string& name) {
    names_[index] = name;
    indices_[name] = index;
  }
  Result<std::string> name(uint32_t index) const {
    auto it = names_.find(index);
    if (it == names_.end()) return fail("link " + std::to_string(index) + " appeared while the namespace was read");
    return it->second;
  }
  Result<uint32_t> index(const std::string& name) const {
    auto it = indices_.find(name);
    if (it == indices_.end()) return fail("there is no link " + name);
    return it->second;
  }

 private:
  std::map<uint32_t, std::string> names_;
  std::map<std::string, uint32_t> indices_;
};

}  // namespace godwit::network
