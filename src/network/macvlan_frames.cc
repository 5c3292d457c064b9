#include "network/macvlan_frames.h"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "kernel/link_program.h"
#include "network/link_message.h"

namespace godwit::network {
namespace {

constexpr uint32_t kTapQueueFrames = 8192;  // until they are read: what comes while the reader is not scheduled
constexpr size_t kEthernetBytes = 14, kMacBytes = 6;
// In the frame's tc_index: put in by us. The kernel does not look at it on the way in.
constexpr int32_t kPutIn = 0x6777;
constexpr int32_t kNextProgram = -1, kDrop = 2;  // TCX_NEXT, TCX_DROP: linux/bpf.h of 6.6
constexpr int32_t kToIngress = 1;                // BPF_F_INGRESS
constexpr size_t kDestination = 0, kSource = 6;  // in an Ethernet header

// --- Instructions. r6 holds the frame's description, as loads of its bytes want it.
bpf_insn instruction(int code, int to, int from, int16_t offset, int32_t value) {
  bpf_insn made{};
  made.code = static_cast<uint8_t>(code);
  made.dst_reg = static_cast<uint8_t>(to) & 0xf;
  made.src_reg = static_cast<uint8_t>(from) & 0xf;
  made.off = offset;
  made.imm = value;
  return made;
}
bpf_insn copy(int to, int from) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
bpf_insn set(int to, int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
bpf_insn set_to_32_bits(int to, uint32_t value) {
  return instruction(BPF_ALU | BPF_MOV | BPF_K, to, 0, 0, static_cast<int32_t>(value));
}
bpf_insn load_field(int to, size_t field) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_6, static_cast<int16_t>(field), 0);
}
bpf_insn store_field(size_t field, int from) {
  return instruction(BPF_STX | BPF_MEM | BPF_W, BPF_REG_6, from, static_cast<int16_t>(field), 0);
}
// Into r0, in the processor's byte order; the program ends, and the frame goes on, if it is too short.
bpf_insn load_bytes(int size, size_t at) {
  return instruction(BPF_LD | BPF_ABS | size, 0, 0, 0, static_cast<int32_t>(at));
}
bpf_insn skip_if_not(int value, int16_t instructions) {
  return instruction(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, instructions, value);
}
bpf_insn skip_if_not_32_bits(int other, int16_t instructions) {
  return instruction(BPF_JMP32 | BPF_JNE | BPF_X, BPF_REG_0, other, instructions, 0);
}
bpf_insn skip_if_bit(int bit, int16_t instructions) {
  return instruction(BPF_JMP | BPF_JSET | BPF_K, BPF_REG_0, 0, instructions, bit);
}
bpf_insn skip(int16_t instructions) { return instruction(BPF_JMP | BPF_JA, 0, 0, instructions, 0); }
bpf_insn call(int function) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
bpf_insn end() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

struct MacHalves {
  uint32_t first;
  int32_t second;
};
MacHalves halves(const MacAddress& mac) {
  return {uint32_t{mac[0]} << 24 | uint32_t{mac[1]} << 16 | uint32_t{mac[2]} << 8 | mac[3], mac[4] << 8 | mac[5]};
}

// At the parent.
std::vector<bpf_insn> diverting(const MacAddress& mac, uint32_t tap) {
  const auto [first, second] = halves(mac);
  const auto to = static_cast<int32_t>(tap);
  return {
      copy(BPF_REG_6, BPF_REG_1),
      // Ours goes on.
      load_field(BPF_REG_0, offsetof(__sk_buff, tc_index)),
      skip_if_not(kPutIn, 4),
      set(BPF_REG_1, 0),
      store_field(offsetof(__sk_buff, tc_index), BPF_REG_1),
      set(BPF_REG_0, kNextProgram),
      end(),
      // What is for a VLAN is not for the parent's macvlans.
      load_field(BPF_REG_0, offsetof(__sk_buff, vlan_present)),
      skip_if_not(0, 16),
      // Addressed to the macvlan: to the tap instead.
      set_to_32_bits(BPF_REG_7, first),
      load_bytes(BPF_W, kDestination),
      skip_if_not_32_bits(BPF_REG_7, 6),
      load_bytes(BPF_H, kDestination + 4),
      skip_if_not(second, 4),
      set(BPF_REG_1, to),
      set(BPF_REG_2, 0),
      call(BPF_FUNC_redirect),
      end(),
      // To many: a copy.
      load_bytes(BPF_B, kDestination),
      skip_if_bit(1, 1),
      skip(4),
      copy(BPF_REG_1, BPF_REG_6),
      set(BPF_REG_2, to),
      set(BPF_REG_3, 0),
      call(BPF_FUNC_clone_redirect),
      set(BPF_REG_0, kNextProgram),
      end(),
  };
}

// At the entrance's tap.
std::vector<bpf_insn> putting_in(uint32_t parent) {
  return {
      copy(BPF_REG_6, BPF_REG_1),
      set(BPF_REG_1, kPutIn),
      store_field(offsetof(__sk_buff, tc_index), BPF_REG_1),
      set(BPF_REG_1, static_cast<int32_t>(parent)),
      set(BPF_REG_2, kToIngress),
      call(BPF_FUNC_redirect),
      end(),
  };
}

// At the parent, of what leaves it.
std::vector<bpf_insn> muting(const MacAddress& mac) {
  const auto [first, second] = halves(mac);
  return {
      copy(BPF_REG_6, BPF_REG_1),     set_to_32_bits(BPF_REG_7, first),
      load_bytes(BPF_W, kSource),     skip_if_not_32_bits(BPF_REG_7, 4),
      load_bytes(BPF_H, kSource + 4), skip_if_not(second, 2),
      set(BPF_REG_0, kDrop),          end(),
      set(BPF_REG_0, kNextProgram),   end(),
  };
}

Result<Tap> make_up_tap(RouteSocket& socket, const std::string& name) {
  TRY_ASSIGN(Tap tap, make_tap(name));
  (void)socket.call(no_generated_addresses_request(tap.index));  // a kernel without IPv6
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(tap.index);
  NetlinkRequest settings(RTM_NEWLINK, 0, header);
  settings.add_u32(IFLA_TXQLEN, kTapQueueFrames);
  TRY_DOING("the tap " + name, socket.call(settings));
  TRY_DOING("the tap " + name, socket.call(set_up_request(tap.index)));
  return tap;
}

}  // namespace

Result<MacvlanDiversion> MacvlanDiversion::make(RouteSocket& socket, const std::string& name, const HostPort& port) {
  TRY_ASSIGN(Tap tap, make_up_tap(socket, name));
  TRY_ASSIGN(ScopedFd program, load_link_program(diverting(port.mac, tap.index)));
  // Where it does no harm: can it be attached at all?
  TRY(attach_link_program(program, tap.index, LinkDirection::kIngress));
  return MacvlanDiversion(std::move(tap), std::move(program), port.index);
}

Result<> MacvlanDiversion::begin() {
  if (attached_) return {};
  TRY_ASSIGN(attached_, attach_link_program(program_, parent_, LinkDirection::kIngress));
  return {};
}

Result<MacvlanEntrance> MacvlanEntrance::make(RouteSocket& socket, const std::string& name, uint32_t parent) {
  TRY_ASSIGN(Tap tap, make_up_tap(socket, name));
  TRY_ASSIGN(const ScopedFd program, load_link_program(putting_in(parent)));
  TRY_ASSIGN(ScopedFd attached, attach_link_program(program, tap.index, LinkDirection::kIngress));
  return MacvlanEntrance(std::move(tap), std::move(attached));
}

bool MacvlanEntrance::put(std::string_view frame, const MacAddress& mac) const {
  if (frame.size() < kEthernetBytes) return false;
  std::string addressed(frame);
  addressed.replace(0, kMacBytes, as_bytes(mac));
  return write(tap_.fd.get(), addressed.data(), addressed.size()) == static_cast<ssize_t>(addressed.size());
}

Result<ScopedFd> mute_macvlan(uint32_t parent, const MacAddress& mac) {
  TRY_ASSIGN(const ScopedFd program, load_link_program(muting(mac)));
  return attach_link_program(program, parent, LinkDirection::kEgress);
}

}  // namespace godwit::network
