// A BPF program that sees the frames of a link (tcx, Linux 6.6). It is gone with its descriptor.
#pragma once

#include <linux/bpf.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// A word that programs and this process have in common, 0 at first: what one of them writes, the other sees at once.
class SharedWord {
 public:
  static Result<SharedWord> make();

  std::atomic_ref<uint64_t> get() const { return std::atomic_ref(*word_); }
  int map() const { return map_.get(); }  // the word's address in a program: BPF_PSEUDO_MAP_VALUE, offset 0

 private:
  struct Unmap {
    void operator()(uint64_t* word) const;
  };
  SharedWord(ScopedFd map, uint64_t* word) : map_(std::move(map)), word_(word) {}
  ScopedFd map_;
  std::unique_ptr<uint64_t, Unmap> word_;
};

enum class LinkDirection { kIngress, kEgress };

// CODE, which the kernel checks. An error where the kernel cannot, or may not, do this.
Result<ScopedFd> load_link_program(std::span<const bpf_insn> code);

// PROGRAM sees what comes to, or leaves by, the link INDEX of the calling thread's network namespace, from now on until
// the descriptor that is returned is closed. Attaching and closing take some ms: both wait for the processors that run
// the link's programs (RCU), and after either of them none is at an older set of them.
Result<ScopedFd> attach_link_program(const ScopedFd& program, uint32_t index, LinkDirection direction);

}  // namespace godwit
