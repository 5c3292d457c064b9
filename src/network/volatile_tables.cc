#include "network/volatile_tables.h"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "network/address_message.h"
#include "network/neighbour_message.h"
#include "network/route_message.h"
#include "network/rule_message.h"

namespace godwit::network {
namespace {

// Removing an address takes routes and other addresses with it, so a table is read and mended again
// until it is right.
constexpr int kRoundsMax = 4;

template <typename Entry>
using Parser = Result<std::optional<Entry>> (*)(const NetlinkMessage&, const LinkNames&);

template <typename Entry>
Result<std::vector<Entry>> read_table(RouteSocket& socket, const LinkNames& names, const NetlinkRequest& request,
                                      Parser<Entry> parse) {
  std::vector<Entry> entries;
  Result<> verdict;
  auto each = [&](const NetlinkMessage& message) {
    auto entry = parse(message, names);
    if (!entry)
      verdict = fail(entry.error());
    else if (*entry)
      entries.push_back(std::move(**entry));
  };
  TRY(socket.dump(request, each, [&] { entries.clear(); }));
  TRY(verdict);
  return entries;
}

// Entries are equal if their bytes are: both sides are written by the same code.
template <typename Entry>
std::set<std::string> keys_of(const std::vector<Entry>& entries) {
  std::set<std::string> keys;
  for (const Entry& entry : entries) keys.insert(entry.SerializeAsString());
  return keys;
}

template <typename Entry>
std::vector<Entry> missing(const std::vector<Entry>& entries, const std::vector<Entry>& from) {
  std::set<std::string> there = keys_of(from);
  std::vector<Entry> result;
  for (const Entry& entry : entries)
    if (!there.contains(entry.SerializeAsString())) result.push_back(entry);
  return result;
}

template <typename Entry>
using Builder = Result<NetlinkRequest> (*)(bool, const Entry&, const LinkNames&);

// Adds or removes ENTRIES. Refusals with the code BENIGN are fine; the first other one is returned.
template <typename Entry>
Result<Result<>> change(RouteSocket& socket, const LinkNames& names, bool remove, const std::vector<Entry>& entries,
                        Builder<Entry> build) {
  std::vector<NetlinkRequest> requests;
  for (const Entry& entry : entries) {
    TRY_ASSIGN(NetlinkRequest request, build(remove, entry, names));
    requests.push_back(std::move(request));
  }
  TRY_ASSIGN(auto verdicts, socket.call_all(requests));
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (verdicts[i]) continue;
    int code = verdicts[i].error().code();
    if (remove || code == EEXIST) continue;  // another change took it along, or made it
    return Result<>(fail(std::move(verdicts[i].error()).during(describe(entries[i]))));
  }
  return Result<>();
}

// Reads, removes what is too much, adds what is missing, until nothing differs. Routes need several
// rounds if one is reached through another that comes later in the list.
template <typename Entry>
Result<> mend(RouteSocket& socket, const LinkNames& names, const std::vector<Entry>& wanted,
              Result<std::vector<Entry>> (*read)(RouteSocket&, const LinkNames&), Builder<Entry> build) {
  Result<> refusal;
  for (int round = 0; round < kRoundsMax; ++round) {
    TRY_ASSIGN(std::vector<Entry> now, read(socket, names));
    auto surplus = missing(now, wanted), lacking = missing(wanted, now);
    if (surplus.empty() && lacking.empty()) return {};
    TRY(change(socket, names, true, surplus, build));
    TRY_ASSIGN(refusal, change(socket, names, false, lacking, build));
  }
  return refusal;
}

// The kernel keeps one entry for each address, and replaces it: nothing has to be removed first.
Result<> mend_neighbours(RouteSocket& socket, const LinkNames& names, const std::vector<peer::Neighbour>& wanted) {
  TRY_ASSIGN(auto now, read_neighbours(socket, names));
  std::set<std::string> addresses;
  auto key = [](const peer::Neighbour& entry) { return entry.link() + "\n" + entry.address(); };
  for (const peer::Neighbour& entry : wanted) addresses.insert(key(entry));
  std::erase_if(now, [&](const peer::Neighbour& entry) { return addresses.contains(key(entry)); });
  TRY(change(socket, names, true, now, neighbour_request));
  TRY(change(socket, names, false, wanted, neighbour_request));
  return {};
}

template <typename Entry>
std::vector<Entry> to_vector(const google::protobuf::RepeatedPtrField<Entry>& entries) {
  return {entries.begin(), entries.end()};
}

}  // namespace

Result<std::vector<peer::Address>> read_addresses(RouteSocket& socket, const LinkNames& names) {
  return read_table<peer::Address>(socket, names, {RTM_GETADDR, 0, ifaddrmsg{}}, parse_address);
}

Result<std::vector<peer::Route>> read_routes(RouteSocket& socket, const LinkNames& names) {
  return read_table<peer::Route>(socket, names, {RTM_GETROUTE, 0, rtmsg{}}, parse_route);
}

Result<std::vector<peer::Rule>> read_rules(RouteSocket& socket, const LinkNames& names) {
  return read_table<peer::Rule>(socket, names, {RTM_GETRULE, 0, fib_rule_hdr{}}, parse_rule);
}

Result<std::vector<peer::Neighbour>> read_neighbours(RouteSocket& socket, const LinkNames& names) {
  return read_table<peer::Neighbour>(socket, names, {RTM_GETNEIGH, 0, ndmsg{}}, parse_neighbour);
}

Result<> write_tables(RouteSocket& socket, const LinkNames& names, const peer::NetworkState& state) {
  TRY_DOING("addresses", mend(socket, names, to_vector(state.addresses()), read_addresses, address_request));
  TRY_DOING("routes", mend(socket, names, to_vector(state.routes()), read_routes, route_request));
  TRY_DOING("rules", mend(socket, names, to_vector(state.rules()), read_rules, rule_request));
  TRY_DOING("neighbours", mend_neighbours(socket, names, to_vector(state.neighbours())));
  return {};
}

}  // namespace godwit::network
