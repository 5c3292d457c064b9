#include "kernel/link_program.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/page.h"

namespace godwit {

namespace {

// linux/bpf.h of 6.6; older headers do not have them.
constexpr uint32_t kTcxIngress = 46, kTcxEgress = 47;
constexpr char kLicense[] = "MIT";

Result<ScopedFd> bpf(int command, bpf_attr& attributes, const char* doing) {
  ScopedFd fd(static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes)));
  if (!fd) return fail_errno(doing);
  return fd;
}

}  // namespace

void SharedWord::Unmap::operator()(uint64_t* word) const { ::munmap(word, kPageBytes); }

Result<SharedWord> SharedWord::make() {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = sizeof(uint32_t);
  attributes.value_size = sizeof(uint64_t);
  attributes.max_entries = 1;
  attributes.map_flags = BPF_F_MMAPABLE;
  TRY_ASSIGN(ScopedFd map, bpf(BPF_MAP_CREATE, attributes, "making a BPF map"));
  void* word = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
  if (word == MAP_FAILED) return fail_errno("mapping a BPF map");
  return SharedWord(std::move(map), static_cast<uint64_t*>(word));
}

Result<ScopedFd> load_link_program(std::span<const bpf_insn> code) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  attributes.insns = reinterpret_cast<uint64_t>(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = reinterpret_cast<uint64_t>(kLicense);
  return bpf(BPF_PROG_LOAD, attributes, "loading a BPF program");
}

Result<ScopedFd> attach_link_program(const ScopedFd& program, uint32_t index, LinkDirection direction) {
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(program.get());
  attributes.link_create.target_ifindex = index;
  attributes.link_create.attach_type = direction == LinkDirection::kIngress ? kTcxIngress : kTcxEgress;
  return bpf(BPF_LINK_CREATE, attributes, "attaching a BPF program to a link");
}

}  // namespace godwit
