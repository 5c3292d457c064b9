#include "network/remove.h"

#include <net/if.h>

#include "kernel/rtnetlink.h"

namespace godwit::network {

Result<> remove_link(uint32_t index, const std::string& name) {
  if (::if_nametoindex(name.c_str()) != index) return {};
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  auto removed = socket.call(NetlinkRequest(RTM_DELLINK, 0, header));
  if (!removed && removed.error().code() == ENODEV) return {};
  if (!removed) return fail(std::move(removed.error()).during("remove link " + name));
  return {};
}

}  // namespace godwit::network
