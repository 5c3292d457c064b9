#include "network/qdiscs.h"

#include <fmt/format.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "network/loopback_mute.h"

namespace godwit::network {
namespace {

// Kinds that take their options as they report them.
constexpr std::array<std::string_view, 20> kKinds = {
    "pfifo",    "bfifo", "pfifo_fast", "pfifo_head_drop", "tbf",  "htb",   "hfsc", "prio",    "drr",   "sfq", "fq",
    "fq_codel", "codel", "pie",        "fq_pie",          "cake", "netem", "ets",  "ingress", "clsact"};

bool is_carried(std::string_view kind) { return std::ranges::find(kKinds, kind) != kKinds.end(); }

// Classes of prio, ets, tbf and the like come with the discipline; only those that were made are carried.
bool has_own_classes(std::string_view kind) { return kind == "htb" || kind == "hfsc" || kind == "drr"; }

// HTB takes only the upper half of the version it reports, and counts packets in its options.
std::string settable_options(const std::string& kind, bool is_class, const NetlinkAttributes& attributes) {
  std::string options(attributes.bytes(TCA_OPTIONS));
  if (kind != "htb" || is_class) return options;
  const std::string_view init = attributes.nested(TCA_OPTIONS).bytes(TCA_HTB_INIT);
  tc_htb_glob global;
  if (init.size() < sizeof(global)) return options;
  std::memcpy(&global, init.data(), sizeof(global));
  global.version >>= 16;
  global.direct_pkts = global.debug = 0;
  const auto at = static_cast<size_t>(init.data() - attributes.bytes(TCA_OPTIONS).data());
  std::memcpy(options.data() + at, &global, sizeof(global));
  return options;
}

tcmsg header_of(uint32_t link, uint32_t parent, uint32_t handle) {
  tcmsg header{};
  header.tcm_ifindex = static_cast<int>(link);
  header.tcm_parent = parent;
  header.tcm_handle = handle;
  return header;
}

Result<> read_some(RouteSocket& socket, const LinkNames& names, const NetlinkRequest& request, bool classes,
                   std::vector<peer::Qdisc>& qdiscs) {
  Result<> verdict;
  const size_t before = qdiscs.size();
  auto each = [&](const NetlinkMessage& message) {
    auto header = message.header<tcmsg>();
    auto attributes = message.attributes<tcmsg>();
    const bool default_one = header.tcm_handle == 0 || (classes && TC_H_MIN(header.tcm_handle) == 0);
    auto link = names.name(static_cast<uint32_t>(header.tcm_ifindex));
    if (message.type != (classes ? RTM_NEWTCLASS : RTM_NEWQDISC) || default_one || !link) return;
    if (header.tcm_handle == kMuteHandle && attributes.string(TCA_KIND) == "blackhole") return;  // of this migration
    if (classes && !has_own_classes(attributes.string(TCA_KIND))) return;
    peer::Qdisc qdisc;
    qdisc.set_link(*link);
    qdisc.set_handle(header.tcm_handle);
    qdisc.set_parent(header.tcm_parent);
    qdisc.set_kind(attributes.string(TCA_KIND));
    qdisc.set_is_class(classes);
    qdisc.set_options(settable_options(qdisc.kind(), classes, attributes));
    if (!is_carried(qdisc.kind()))
      verdict = fail("link " + *link + " has a queueing discipline " + qdisc.kind() + ", which cannot be carried");
    qdiscs.push_back(std::move(qdisc));
  };
  TRY(socket.dump(request, each, [&] { qdiscs.resize(before); }));
  return verdict;
}

std::vector<uint32_t> places_of_filters(const peer::Qdisc& qdisc) {
  if (qdisc.kind() == "clsact")
    return {TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)};
  return {qdisc.handle()};
}

Result<> refuse_filters(RouteSocket& socket, uint32_t link, const peer::Qdisc& qdisc) {
  size_t filters = 0;
  for (uint32_t parent : places_of_filters(qdisc))
    TRY(socket.dump(
        NetlinkRequest(RTM_GETTFILTER, 0, header_of(link, parent, 0)),
        [&](const NetlinkMessage& message) { filters += message.type == RTM_NEWTFILTER; }, [] {}));
  if (filters) return fail("link " + qdisc.link() + " has a traffic filter (tc filter), which cannot be carried");
  return {};
}

std::string describe(const peer::Qdisc& qdisc) {
  return fmt::format("{} {} {:x}:{:x} of link {}", qdisc.kind(), qdisc.is_class() ? "class" : "discipline",
                     qdisc.handle() >> 16, qdisc.handle() & 0xffff, qdisc.link());
}

Result<NetlinkRequest> add_request(const LinkNames& names, const peer::Qdisc& qdisc) {
  TRY_ASSIGN(uint32_t link, names.index(qdisc.link()));
  NetlinkRequest request(qdisc.is_class() ? RTM_NEWTCLASS : RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL,
                         header_of(link, qdisc.parent(), qdisc.handle()));
  request.add_string(TCA_KIND, qdisc.kind());
  if (!qdisc.options().empty()) request.add(TCA_OPTIONS, qdisc.options());
  return request;
}

// Everything goes with the disciplines at the root and at the ingress.
Result<> remove_all(RouteSocket& socket, const LinkNames& names, const std::vector<peer::Qdisc>& qdiscs) {
  std::set<std::pair<std::string, uint32_t>> roots;
  for (const peer::Qdisc& qdisc : qdiscs)
    if (qdisc.parent() == TC_H_ROOT || qdisc.parent() == TC_H_INGRESS) roots.emplace(qdisc.link(), qdisc.parent());
  for (const auto& [name, parent] : roots) {
    TRY_ASSIGN(uint32_t link, names.index(name));
    TRY(socket.call(NetlinkRequest(RTM_DELQDISC, 0, header_of(link, parent, 0))));
  }
  return {};
}

// HTB puts a class whose parent is missing at the root and says nothing.
std::vector<peer::Qdisc> parents_first(const std::vector<peer::Qdisc>& qdiscs) {
  std::set<std::pair<std::string, uint32_t>> wanted, there;
  for (const peer::Qdisc& qdisc : qdiscs) wanted.emplace(qdisc.link(), qdisc.handle());
  std::vector<peer::Qdisc> ordered, pending = qdiscs;
  for (bool progress = true; progress;) {
    progress = false;
    std::vector<peer::Qdisc> waiting;
    for (const peer::Qdisc& qdisc : pending) {
      const std::pair<std::string, uint32_t> parent(qdisc.link(), qdisc.parent());
      if (wanted.contains(parent) && !there.contains(parent)) {
        waiting.push_back(qdisc);
        continue;
      }
      there.emplace(qdisc.link(), qdisc.handle());
      ordered.push_back(qdisc);
      progress = true;
    }
    pending = std::move(waiting);
  }
  ordered.insert(ordered.end(), pending.begin(), pending.end());  // a circle, from a peer: the kernel refuses it
  return ordered;
}

std::set<std::string> keys(const std::vector<peer::Qdisc>& qdiscs) {
  std::set<std::string> set;
  for (const peer::Qdisc& qdisc : qdiscs) set.insert(qdisc.SerializeAsString());
  return set;
}

}  // namespace

Result<std::vector<peer::Qdisc>> read_qdiscs(RouteSocket& socket, const LinkNames& names) {
  std::vector<peer::Qdisc> qdiscs;
  TRY(read_some(socket, names, NetlinkRequest(RTM_GETQDISC, 0, tcmsg{}), /*classes=*/false, qdiscs));
  std::set<uint32_t> with_classes;
  for (const peer::Qdisc& qdisc : qdiscs) {
    TRY_ASSIGN(uint32_t link, names.index(qdisc.link()));
    TRY(refuse_filters(socket, link, qdisc));
    if (has_own_classes(qdisc.kind())) with_classes.insert(link);
  }
  for (uint32_t link : with_classes)
    TRY(read_some(socket, names, NetlinkRequest(RTM_GETTCLASS, 0, header_of(link, 0, 0)), /*classes=*/true, qdiscs));
  return qdiscs;
}

Result<> write_qdiscs(RouteSocket& socket, const LinkNames& names, const std::vector<peer::Qdisc>& wanted) {
  TRY_ASSIGN(const auto now, read_qdiscs(socket, names));
  if (keys(now) == keys(wanted)) return {};
  TRY(remove_all(socket, names, now));
  for (const peer::Qdisc& qdisc : parents_first(wanted)) {
    TRY_ASSIGN(const NetlinkRequest request, add_request(names, qdisc));
    TRY_DOING(describe(qdisc), socket.call(request));
  }
  return {};
}

Result<> check_qdisc(const peer::Qdisc& qdisc) {
  if (!is_carried(qdisc.kind())) return fail("of a kind that is not carried");
  if (qdisc.options().size() > kQdiscOptionBytesMax) return fail("options too long");
  if (qdisc.handle() == 0 || qdisc.parent() == 0) return fail("without a handle or a parent");
  return {};
}

}  // namespace godwit::network
