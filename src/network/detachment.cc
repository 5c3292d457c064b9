#include "network/detachment.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <sys/socket.h>

#include <set>

#include "base/log.h"
#include "network/link_message.h"

namespace godwit::network {
namespace {

ifinfomsg bridge_header(uint32_t index) {
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = static_cast<int>(index);
  return header;
}

// Of what the kernel reports of a port, what may be set; the rest is counters and timers.
bool is_setting(uint16_t attribute) {
  static const std::set<uint16_t> settings = {IFLA_BRPORT_PRIORITY,
                                              IFLA_BRPORT_COST,
                                              IFLA_BRPORT_MODE,
                                              IFLA_BRPORT_GUARD,
                                              IFLA_BRPORT_PROTECT,
                                              IFLA_BRPORT_FAST_LEAVE,
                                              IFLA_BRPORT_LEARNING,
                                              IFLA_BRPORT_UNICAST_FLOOD,
                                              IFLA_BRPORT_PROXYARP,
                                              IFLA_BRPORT_PROXYARP_WIFI,
                                              IFLA_BRPORT_MULTICAST_ROUTER,
                                              IFLA_BRPORT_MCAST_TO_UCAST,
                                              IFLA_BRPORT_MCAST_FLOOD,
                                              IFLA_BRPORT_BCAST_FLOOD,
                                              IFLA_BRPORT_NEIGH_SUPPRESS,
                                              IFLA_BRPORT_ISOLATED,
                                              IFLA_BRPORT_LOCKED};
  return settings.contains(attribute);
}

NetlinkRequest settings_request(uint32_t index, const std::string& settings) {
  NetlinkRequest request(RTM_SETLINK, 0, bridge_header(index));
  request.nest(IFLA_PROTINFO, [&](NetlinkRequest& nest) { nest.append(settings); });
  return request;
}

// The settings of each port, as attributes to send back.
Result<std::vector<std::string>> read_settings(RouteSocket& socket, const std::vector<HostPort>& ports) {
  std::vector<std::string> settings(ports.size());
  auto each = [&](const NetlinkMessage& message) {
    auto index = static_cast<uint32_t>(message.header<ifinfomsg>().ifi_index);
    auto attributes = message.attributes<ifinfomsg>();
    for (size_t i = 0; i < ports.size(); ++i) {
      if (ports[i].index != index || !attributes.has(IFLA_PROTINFO)) continue;
      // A request lends its attribute writer; what precedes the attributes is cut off.
      NetlinkRequest writer(0, 0, uint32_t{});
      size_t skip = writer.bytes().size();
      NetlinkAttributes reported = attributes.nested(IFLA_PROTINFO);
      for (const auto& [number, value] : reported.all())
        if (is_setting(number)) writer.add(number, value);
      settings[i] = writer.bytes().substr(skip);
    }
  };
  TRY(socket.dump(NetlinkRequest(RTM_GETLINK, 0, bridge_header(0)), each, [] {}));
  return settings;
}

}  // namespace

PortDetachment::PortDetachment(RouteSocket socket, std::vector<HostPort> ports, std::vector<std::string> settings)
    : socket_(std::move(socket)), ports_(std::move(ports)), settings_(std::move(settings)) {}

PortDetachment::PortDetachment(PortDetachment&& other) noexcept
    : socket_(std::move(other.socket_)),
      ports_(std::move(other.ports_)),
      settings_(std::move(other.settings_)),
      detached_(std::exchange(other.detached_, false)) {}

PortDetachment::~PortDetachment() {
  if (auto back = reattach(); !back) log::error("{}", back.error().text());
}

Result<PortDetachment> PortDetachment::prepare(std::vector<HostPort> ports) {
  TRY_ASSIGN(RouteSocket socket, RouteSocket::open());
  TRY_ASSIGN(auto settings, read_settings(socket, ports));
  return PortDetachment(std::move(socket), std::move(ports), std::move(settings));
}

Result<> PortDetachment::detach() {
  std::vector<NetlinkRequest> requests;
  for (const HostPort& port : ports_) requests.push_back(set_master_request(port.index, 0));
  detached_ = true;
  TRY_ASSIGN(auto verdicts, socket_.call_all(requests));
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (verdicts[i]) continue;
    if (auto back = reattach(); !back) log::error("{}", back.error().text());
    return fail(std::move(verdicts[i].error()).during("taking " + ports_[i].name + " off its bridge"));
  }
  return {};
}

Result<> PortDetachment::reattach() {
  if (!detached_) return {};
  std::vector<NetlinkRequest> requests;
  for (size_t i = 0; i < ports_.size(); ++i) {
    requests.push_back(set_master_request(ports_[i].index, ports_[i].bridge_index));
    if (!settings_[i].empty()) requests.push_back(settings_request(ports_[i].index, settings_[i]));
  }
  TRY_ASSIGN(auto verdicts, socket_.call_all(requests));
  detached_ = false;
  for (auto& verdict : verdicts)
    if (!verdict && verdict.error().code() != ENODEV)
      return fail(std::move(verdict.error()).during("putting the container's port back on its bridge"));
  return {};
}

}  // namespace godwit::network
