// Undo guards: each thing taken adds the step that gives it back; on failure they run newest first, and one
// visible line, commit(), cancels them all.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"

namespace godwit {

class UndoList {
 public:
  UndoList() = default;
  UndoList(const UndoList&) = delete;
  UndoList& operator=(const UndoList&) = delete;
  ~UndoList() { roll_back(); }

  // STEP must not throw and must cope with the thing having vanished already.
  void add(std::string what, std::function<void()> step) { steps_.emplace_back(std::move(what), std::move(step)); }

  void roll_back() {
    while (!steps_.empty()) {
      auto [what, step] = std::move(steps_.back());
      steps_.pop_back();
      log::debug("undo: {}", what);
      step();
    }
  }

  // What was taken stays taken.
  void commit() { steps_.clear(); }

 private:
  std::vector<std::pair<std::string, std::function<void()>>> steps_;
};

}  // namespace godwit
