// A BPF program that sees the frames of a link (tcx, Linux 6.6). It is gone with its descriptor.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

enum class LinkDirection { kIngress, kEgress };

// CODE, which the kernel checks. An error where the kernel cannot, or may not, do this.
Result<ScopedFd> load_link_program(std::span<const bpf_insn> code);

// PROGRAM sees what comes to, or leaves by, the link INDEX of the calling thread's network namespace, from now on until
// the descriptor that is returned is closed.
Result<ScopedFd> attach_link_program(const ScopedFd& program, uint32_t index, LinkDirection direction);

}  // namespace godwit
