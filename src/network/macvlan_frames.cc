#include "network/macvlan_frames.h"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <unistd.h>

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
// In a diversion's word.
constexpr int kOff = 1, kOneFrame = 2;
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
// A word's address is two instructions.
bpf_insn address_of(int to, const SharedWord& word) {
  return instruction(BPF_LD | BPF_IMM | BPF_DW, to, BPF_PSEUDO_MAP_VALUE, 0, word.map());
}
bpf_insn address_rest() { return {}; }
bpf_insn load_word(int to, int at) { return instruction(BPF_LDX | BPF_MEM | BPF_DW, to, at, 0, 0); }
// The register has what was there before.
bpf_insn add_to_word(int at, int amount) {
  return instruction(BPF_STX | BPF_ATOMIC | BPF_DW, at, amount, 0, BPF_ADD | BPF_FETCH);
}
bpf_insn call(int function) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
bpf_insn end() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

// Jumps go to places that come later; place() says where.
enum class Place : int16_t { kGoesOn = 1000, kOthers, kCounted };
bpf_insn jump(int condition, int tested, int32_t value, Place to) {
  return instruction(BPF_JMP | condition | BPF_K, tested, 0, static_cast<int16_t>(to), value);
}
bpf_insn jump_unless_32_bits(int tested, int other, Place to) {
  return instruction(BPF_JMP32 | BPF_JNE | BPF_X, tested, other, static_cast<int16_t>(to), 0);
}

void place(Place here, std::vector<bpf_insn>& code) {
  for (size_t i = 0; i < code.size(); ++i)
    if (const int kind = BPF_CLASS(code[i].code);
        (kind == BPF_JMP || kind == BPF_JMP32) && code[i].off == static_cast<int16_t>(here))
      code[i].off = static_cast<int16_t>(code.size() - i - 1);
}

using Code = std::vector<bpf_insn>;
void add(const Code& more, Code& code) { code.insert(code.end(), more.begin(), more.end()); }

// To OTHERWISE unless MAC is at AT.
void compare_mac(const MacAddress& mac, size_t at, Place otherwise, Code& code) {
  const uint32_t first = uint32_t{mac[0]} << 24 | uint32_t{mac[1]} << 16 | uint32_t{mac[2]} << 8 | mac[3];
  add({set_to_32_bits(BPF_REG_7, first), load_bytes(BPF_W, at), jump_unless_32_bits(BPF_REG_0, BPF_REG_7, otherwise),
       load_bytes(BPF_H, at + 4), jump(BPF_JNE, BPF_REG_0, mac[4] << 8 | mac[5], otherwise)},
      code);
}

// At the parent.
Code diverting(const MacAddress& mac, const SharedWord& word, uint32_t tap) {
  const auto to = static_cast<int32_t>(tap);
  Code code = {
      copy(BPF_REG_6, BPF_REG_1),
      address_of(BPF_REG_8, word),
      address_rest(),
      load_word(BPF_REG_0, BPF_REG_8),
      jump(BPF_JSET, BPF_REG_0, kOff, Place::kGoesOn),
      // What is for a VLAN is not for the parent's macvlans.
      load_field(BPF_REG_0, offsetof(__sk_buff, vlan_present)),
      jump(BPF_JNE, BPF_REG_0, 0, Place::kGoesOn),
  };
  compare_mac(mac, kDestination, Place::kOthers, code);
  add(
      {
          // The mark stays on frames for others: they have programs of their own.
          load_field(BPF_REG_0, offsetof(__sk_buff, tc_index)),
          jump(BPF_JEQ, BPF_REG_0, kPutIn, Place::kGoesOn),
          // As many as the tap's reader will see: the tap takes no large frames.
          load_field(BPF_REG_1, offsetof(__sk_buff, gso_segs)),
          jump(BPF_JNE, BPF_REG_1, 0, Place::kCounted),
          set(BPF_REG_1, 1),
      },
      code);
  place(Place::kCounted, code);
  add(
      {
          // Counting and looking once more are one step: no frame is diverted after the diversion's end.
          instruction(BPF_ALU64 | BPF_MUL | BPF_K, BPF_REG_1, 0, 0, kOneFrame),
          add_to_word(BPF_REG_8, BPF_REG_1),
          jump(BPF_JSET, BPF_REG_1, kOff, Place::kGoesOn),
          set(BPF_REG_1, to),
          set(BPF_REG_2, 0),
          call(BPF_FUNC_redirect),
          end(),
      },
      code);
  place(Place::kOthers, code);
  add(
      {
          load_bytes(BPF_B, kDestination),
          set(BPF_REG_1, 1),
          instruction(BPF_ALU64 | BPF_AND | BPF_X, BPF_REG_0, BPF_REG_1, 0, 0),
          jump(BPF_JEQ, BPF_REG_0, 0, Place::kGoesOn),
          // To many: a copy.
          copy(BPF_REG_1, BPF_REG_6),
          set(BPF_REG_2, to),
          set(BPF_REG_3, 0),
          call(BPF_FUNC_clone_redirect),
      },
      code);
  place(Place::kGoesOn, code);
  add({set(BPF_REG_0, kNextProgram), end()}, code);
  return code;
}

// At the entrance's tap.
Code putting_in(uint32_t parent) {
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
Code muting(const MacAddress& mac, const SharedWord& word) {
  Code code = {
      copy(BPF_REG_6, BPF_REG_1),
      address_of(BPF_REG_8, word),
      address_rest(),
      load_word(BPF_REG_0, BPF_REG_8),
      jump(BPF_JEQ, BPF_REG_0, 0, Place::kGoesOn),
  };
  compare_mac(mac, kSource, Place::kGoesOn, code);
  add({set(BPF_REG_0, kDrop), end()}, code);
  place(Place::kGoesOn, code);
  add({set(BPF_REG_0, kNextProgram), end()}, code);
  return code;
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
  TRY_ASSIGN(SharedWord word, SharedWord::make());
  word.get() = kOff;
  TRY_ASSIGN(const ScopedFd program, load_link_program(diverting(port.mac, word, tap.index)));
  std::vector<ScopedFd> attached(1);
  TRY_ASSIGN(attached[0], attach_link_program(program, port.index, LinkDirection::kIngress));
  // Other macvlans of the parent reach one in this mode through its ingress, as long as it is on the LAN; afterwards
  // the kernel has their frames leave.
  if (port.macvlan_mode == MACVLAN_MODE_BRIDGE) {
    TRY_ASSIGN(ScopedFd of_neighbours, attach_link_program(program, port.index, LinkDirection::kEgress));
    attached.push_back(std::move(of_neighbours));
  }
  return MacvlanDiversion(std::move(tap), port.mac, std::move(word), std::move(attached));
}

void MacvlanDiversion::begin() { word_.get().fetch_and(~uint64_t{kOff}); }

void MacvlanDiversion::note_read(std::string_view frame) {
  if (frame.starts_with(as_bytes(mac_))) ++read_;
}

bool MacvlanDiversion::end_if_all_read() {
  uint64_t word = word_.get();
  if (word & kOff) return true;
  return read_ >= word / kOneFrame && word_.get().compare_exchange_strong(word, word | kOff);
}

void MacvlanDiversion::end() {
  word_.get().fetch_or(kOff);
  attached_.clear();
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

Result<MacvlanMute> MacvlanMute::make(uint32_t parent, const MacAddress& mac) {
  TRY_ASSIGN(SharedWord word, SharedWord::make());
  TRY_ASSIGN(const ScopedFd program, load_link_program(muting(mac, word)));
  TRY_ASSIGN(ScopedFd attached, attach_link_program(program, parent, LinkDirection::kEgress));
  return MacvlanMute(std::move(word), std::move(attached));
}

}  // namespace godwit::network
