#include "network/neighbour_message.h"

#include <linux/neighbour.h>

#include "network/address_text.h"

namespace godwit::network {
namespace {

constexpr uint32_t kNeighbourFlags = NTF_ROUTER;
constexpr uint32_t kNeighbourStates = NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;

}  // namespace

Result<std::optional<peer::Neighbour>> parse_neighbour(const NetlinkMessage& message, const LinkNames& names) {
  auto header = message.header<ndmsg>();
  auto attributes = message.attributes<ndmsg>();
  if (message.type != RTM_NEWNEIGH || address_bytes(header.ndm_family) == 0 || !(header.ndm_state & kNeighbourStates) ||
      attributes.bytes(NDA_LLADDR).size() != 6)
    return std::nullopt;
  peer::Neighbour neighbour;
  TRY_ASSIGN(*neighbour.mutable_link(), names.name(static_cast<uint32_t>(header.ndm_ifindex)));
  neighbour.set_family(header.ndm_family);
  neighbour.set_address(std::string(attributes.bytes(NDA_DST)));
  neighbour.set_mac(std::string(attributes.bytes(NDA_LLADDR)));
  // A probe under way is not carried on; the target's kernel starts one of its own when the entry
  // is used.
  uint32_t settled = header.ndm_state & (NUD_PERMANENT | NUD_REACHABLE);
  neighbour.set_state(settled ? settled : NUD_STALE);
  neighbour.set_flags(header.ndm_flags & kNeighbourFlags);
  return neighbour;
}

Result<NetlinkRequest> neighbour_request(bool remove, const peer::Neighbour& neighbour, const LinkNames& names) {
  ndmsg header{};
  TRY_ASSIGN(uint32_t index, names.index(neighbour.link()));
  header.ndm_ifindex = static_cast<int>(index);
  header.ndm_family = static_cast<uint8_t>(neighbour.family());
  header.ndm_state = static_cast<uint16_t>(neighbour.state());
  header.ndm_flags = static_cast<uint8_t>(neighbour.flags() & kNeighbourFlags);
  NetlinkRequest request(remove ? RTM_DELNEIGH : RTM_NEWNEIGH, remove ? 0 : NLM_F_CREATE | NLM_F_REPLACE, header);
  request.add(NDA_DST, neighbour.address());
  if (!remove) request.add(NDA_LLADDR, neighbour.mac());
  return request;
}

std::string describe(const peer::Neighbour& neighbour) {
  return address_text(neighbour.family(), neighbour.address()) + " on " + neighbour.link();
}

}  // namespace godwit::network
