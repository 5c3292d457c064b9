#include "network/recreate.h"

#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "base/identifier.h"
#include "base/log.h"
#include "kernel/netns.h"
#include "network/bridge_vlans.h"
#include "network/host_port.h"
#include "network/link_message.h"
#include "network/macvlan_message.h"
#include "network/namespace_state.h"
#include "network/nftables.h"
#include "network/sysctls.h"
#include "network/validate.h"
#include "network/veth_message.h"
#include "network/volatile_tables.h"

namespace godwit::network {
namespace {

constexpr milliseconds kCarrierWaitMax{3000};

// A namespace elsewhere would let a peer have a file made anywhere.
Result<> check_path(const std::string& text) {
  std::filesystem::path path(text);
  bool below_run = text.starts_with("/run/") || text.starts_with("/var/run/");
  if (!below_run || path.lexically_normal() != path || !path.has_filename())
    return fail("network namespace " + text + " is not below /run");
  if (std::filesystem::exists(std::filesystem::symlink_status(path)))
    return fail("network namespace " + text + " is there already; remove it (ip netns del " + path.filename().string() +
                "), or the container that uses it");
  return {};
}

// "gw", ten digits of the migration's id, and the link's number: at most 14 bytes.
std::string host_end_name(const std::string& id, int number) {
  return "gw" + id.substr(0, 10) + std::to_string(number);
}

}  // namespace

RecreatedNamespace::RecreatedNamespace(RecreatedNamespace&& other) noexcept
    : host_(std::move(other.host_)),
      inside_(std::move(other.inside_)),
      host_netns_(std::move(other.host_netns_)),
      netns_(std::move(other.netns_)),
      path_(std::move(other.path_)),
      state_(std::move(other.state_)),
      names_(std::move(other.names_)),
      host_ends_(std::move(other.host_ends_)),
      mutes_(std::move(other.mutes_)),
      silent_(other.silent_),
      notes_(std::move(other.notes_)),
      owned_(std::exchange(other.owned_, false)) {}

RecreatedNamespace::~RecreatedNamespace() {
  if (owned_) destroy();
}

Result<RecreatedNamespace> RecreatedNamespace::create(const peer::NetworkState& state, const std::string& netns_path,
                                                      const std::string& id) {
  TRY_DOING("the source's description of the network", check_network_state(state));
  TRY(check_id(id));
  TRY(check_path(netns_path));
  for (const peer::Link& link : state.links())
    if (!link.loopback() && link.kind().empty()) TRY(find_bridge(link.bridge()));
  TRY_ASSIGN(RouteSocket host, RouteSocket::open());
  TRY_ASSIGN(ScopedFd host_netns, open_current_netns());
  TRY_DOING("making the network namespace", create_named_netns(netns_path));
  // From here on its destructor undoes.
  RecreatedNamespace made(std::move(host), std::move(host_netns), netns_path);
  TRY_DOING("filling the network namespace " + netns_path, made.fill(state, id));
  return made;
}

Result<> RecreatedNamespace::fill(const peer::NetworkState& state, const std::string& id) {
  TRY_ASSIGN(netns_, open_netns(path_));
  TRY_ASSIGN(inside_, in_netns(netns_.get(), RouteSocket::open));
  *state_.mutable_links() = state.links();
  for (int i = 0; i < state.links_size(); ++i)
    if (!state.links(i).loopback()) TRY(make_link(state.links(i), host_end_name(id, i)));
  TRY_ASSIGN(names_, list_link_names(*inside_));
  if (!state.nftables().empty() && !has_nft())
    return fail("the container has nftables rules, and the program nft is missing here (package nftables)");
  TRY(set_sysctls(state, /*while_down=*/true));
  TRY(bring_up(state));
  TRY(await_ready(state));
  TRY(write_tables(*inside_, names_, state));
  TRY(set_sysctls(state, /*while_down=*/false));
  // Setting one of those may have added a link-local address.
  TRY(write_tables(*inside_, names_, state));
  return write_state(state);
}

Result<> RecreatedNamespace::make_link(const peer::Link& link, const std::string& host_name) {
  auto made = link.kind() == "macvlan" ? make_macvlan(link, host_name) : make_veth(link, host_name);
  if (!made) return fail(std::move(made.error()).during("link " + link.name()));
  TRY_ASSIGN(made->container_mac, unicast_mac(link.mac()));
  TRY_ASSIGN(LinkInfo inner, find_link(*inside_, link.name()));
  if (inner.index != link.index())
    notes_.push_back("link " + link.name() + " has the index " + std::to_string(inner.index) + " instead of " +
                     std::to_string(link.index()));
  // The addresses are known: the kernel shall not invent one, which it would then probe for a
  // second.
  TRY(inside_->call(no_generated_addresses_request(inner.index)));
  if (made->index) (void)host_.call(no_generated_addresses_request(made->index));  // a kernel without IPv6
  return {};
}

// An index that is taken is not asked for again.
Result<> RecreatedNamespace::call_with_index(RouteSocket& socket, uint32_t index,
                                             const std::function<NetlinkRequest(uint32_t)>& request) {
  auto made = socket.call(request(index));
  if (made || index == 0) return made;
  int code = made.error().code();
  if (code != EEXIST && code != EBUSY) return made;
  return socket.call(request(0));
}

// The new end is in host_ends_, from which it is removed on any failure.
Result<HostEnd> RecreatedNamespace::make_veth(const peer::Link& link, const std::string& host_name) {
  HostEnd end{.index = 0, .name = host_name, .container_mac = {}, .bridge_index = 0, .macvlan = false};
  TRY_ASSIGN(end.bridge_index, find_bridge(link.bridge()));
  TRY(call_with_index(*inside_, link.index(),
                      [&](uint32_t index) { return veth_request(link, index, host_name, host_netns_.get()); }));
  host_ends_.push_back(end);
  TRY_ASSIGN(LinkInfo outer, find_link(host_, host_name));
  host_ends_.back().index = outer.index;
  TRY_ASSIGN(host_ends_.back().container_mac, unicast_mac(link.mac()));
  return host_ends_.back();
}

Result<HostEnd> RecreatedNamespace::make_macvlan(const peer::Link& link, const std::string& host_name) {
  HostEnd end{.index = 0, .name = host_name, .container_mac = {}, .bridge_index = 0, .macvlan = true};
  TRY_ASSIGN(LinkInfo parent, find_link(host_, link.parent()));
  end.parent_index = parent.index;
  const MacAddress mac = high_mac();
  // Before it can send. In front of the freeze as well: attaching the mute takes the kernel some ms.
  auto mute = MacvlanMute::make(parent.index, mac);
  if (mute) {
    mute->set(true);
    mutes_.push_back(std::move(*mute));
  }
  silent_ = silent_ && mute.has_value();
  TRY(call_with_index(host_, link.index(),
                      [&](uint32_t index) { return macvlan_request(link, index, parent.index, netns_.get(), mac); }));
  host_ends_.push_back(end);
  TRY_ASSIGN(host_ends_.back().container_mac, unicast_mac(link.mac()));
  return host_ends_.back();
}

Result<> RecreatedNamespace::bring_up(const peer::NetworkState& state) {
  std::vector<NetlinkRequest> inner, outer;
  TRY_ASSIGN(uint32_t loopback, names_.index("lo"));
  inner.push_back(set_up_request(loopback));
  for (const peer::Link& link : state.links()) {
    if (!link.up() || link.loopback()) continue;
    TRY_ASSIGN(uint32_t index, names_.index(link.name()));
    inner.push_back(set_up_request(index));
  }
  for (const HostEnd& end : host_ends_)
    if (end.index) outer.push_back(set_up_request(end.index));
  TRY_ASSIGN(auto inner_up, inside_->call_all(inner));
  TRY_ASSIGN(auto outer_up, host_.call_all(outer));
  for (auto& verdict : inner_up) TRY_DOING("bringing a link up", std::move(verdict));
  for (auto& verdict : outer_up) TRY_DOING("bringing a link's other end up", std::move(verdict));
  return {};
}

// Whether every link that is to be up has its carrier, at both ends.
Result<bool> RecreatedNamespace::all_ready(const peer::NetworkState& state) {
  auto end = host_ends_.begin();
  for (const peer::Link& link : state.links()) {
    if (link.loopback()) continue;
    const HostEnd& host_end = *end++;
    if (!link.up()) continue;
    TRY_ASSIGN(LinkInfo inner, find_link(*inside_, link.name()));
    if (!inner.ready) return false;
    if (host_end.index == 0) continue;
    TRY_ASSIGN(LinkInfo outer, find_link(host_, host_end.index));
    if (!outer.ready) return false;
  }
  return true;
}

// The kernel notices a carrier some time after the link is up. Before that, a link sends nothing,
// its bridge port would not forward, and IPv6 would still invent addresses after the sysctls have
// allowed it again.
Result<> RecreatedNamespace::await_ready(const peer::NetworkState& state) {
  for (Deadline deadline = Clock::now() + kCarrierWaitMax;;) {
    TRY_ASSIGN(bool ready, all_ready(state));
    if (ready) return {};
    if (Clock::now() > deadline) return fail("the links' carriers do not come up");
    std::this_thread::sleep_for(milliseconds(1));
  }
}

Result<> RecreatedNamespace::set_sysctls(const peer::NetworkState& state, bool while_down) {
  return in_netns(netns_.get(), [&] { return write_sysctls(state, while_down, notes_); });
}

Result<> RecreatedNamespace::apply_volatile(const peer::NetworkState& state) {
  TRY_DOING("the source's description of the network", check_network_state(state));
  TRY(write_tables(*inside_, names_, state));
  return write_state(state);
}

Result<> RecreatedNamespace::write_state(const peer::NetworkState& state) {
  *state_.mutable_addresses() = state.addresses();
  *state_.mutable_routes() = state.routes();
  *state_.mutable_rules() = state.rules();
  *state_.mutable_neighbours() = state.neighbours();
  return in_netns(netns_.get(), [&] { return write_namespace_state(*inside_, names_, state, notes_); });
}

Result<> RecreatedNamespace::attach() {
  std::vector<NetlinkRequest> requests;
  auto end = host_ends_.begin();
  for (const peer::Link& link : state_.links()) {
    if (link.loopback()) continue;
    const HostEnd& host_end = *end++;
    if (host_end.macvlan) continue;
    requests.push_back(set_master_request(host_end.index, host_end.bridge_index));
    if (link.vlan_aware()) add_vlan_requests(host_end.index, {link.vlans().begin(), link.vlans().end()}, requests);
  }
  TRY_ASSIGN(auto verdicts, host_.call_all(requests));
  for (auto& verdict : verdicts) TRY_DOING("attaching the container to its bridge", std::move(verdict));
  bool macvlan = false;
  for (const peer::Link& link : state_.links()) {
    if (link.kind() != "macvlan") continue;
    macvlan = true;
    TRY_DOING("attaching the container's " + link.name() + " to " + link.parent(), attach_macvlan(link));
  }
  // A link that gets another MAC forgets its neighbours.
  return macvlan ? write_tables(*inside_, names_, state_) : Result<>();
}

Result<> RecreatedNamespace::attach_macvlan(const peer::Link& link) {
  TRY_ASSIGN(const uint32_t index, names_.index(link.name()));
  TRY_ASSIGN(const MacAddress mac, unicast_mac(link.mac()));
  return inside_->call(on_lan_request(index, link.macvlan_mode(), mac));
}

void RecreatedNamespace::destroy() {
  owned_ = false;
  // Explicitly, as the kernel removes a namespace's links some time after the namespace has gone.
  for (const peer::Link& link : state_.links())
    if (link.kind() == "macvlan" && inside_) (void)inside_->call(delete_link_request(link.name()));
  for (const HostEnd& end : host_ends_) {
    if (end.macvlan && end.index == 0) continue;
    auto gone = host_.call(delete_link_request(end.name));
    if (!gone && gone.error().code() != ENODEV) log::warn("{}: {}", end.name, gone.error().text());
  }
  host_ends_.clear();
  inside_.reset();
  netns_.reset();
  if (auto gone = remove_named_netns(path_); !gone) log::warn("{}", gone.error().text());
}

}  // namespace godwit::network
