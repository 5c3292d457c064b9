#include "runtime/multicast_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstring>
#include <string>

#include "base/file.h"

namespace godwit {

namespace {

constexpr int kFilterSources = 64;  // asked for at first

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (size_t at = 0; (at = line.find_first_not_of(" \t", at)) != std::string_view::npos;) {
    const size_t end = std::min(line.find_first_of(" \t", at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

template <typename Number>
std::optional<Number> parse(std::string_view text, int base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value, base);
  return error == std::errc() && end == text.end() ? std::optional(value) : std::nullopt;
}

// "2  eth0 : 2 V3" and then, indented, "  010163EF  1 0:00000000  0" for each group: the address as the machine holds
// it.
void add_v4_groups(std::string_view igmp, std::vector<MulticastGroup>& groups) {
  int link = 0;
  for (const std::string& line : split_lines(igmp)) {
    const auto words = words_of(line);
    if (words.empty()) continue;
    if (line[0] != '\t') {
      link = parse<int>(words[0], 10).value_or(0);
      continue;
    }
    const auto address = parse<uint32_t>(words[0], 16);
    if (!address || *address == htonl(INADDR_ALLHOSTS_GROUP)) continue;
    MulticastGroup group{.link = link, .address = {}};
    group.address.s6_addr[10] = group.address.s6_addr[11] = 0xff;
    std::memcpy(&group.address.s6_addr[12], &*address, sizeof *address);
    groups.push_back(group);
  }
}

// ff01::1 and ff02::1, and what the kernel joins for each of its addresses (ff02::1:ff00:0/104).
bool is_of_every_host(const in6_addr& group) {
  in6_addr rest = group;
  rest.s6_addr[1] = 0;
  in6_addr all{};
  all.s6_addr[0] = 0xff;
  all.s6_addr[15] = 1;
  constexpr uint8_t kSolicitedNode[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  return std::memcmp(&rest, &all, sizeof all) == 0 || std::memcmp(&group, kSolicitedNode, sizeof kSolicitedNode) == 0;
}

// "2    eth0            ff050000000000000000000000009901     1 00000004 0"
void add_v6_groups(std::string_view igmp6, std::vector<MulticastGroup>& groups) {
  for (const std::string& line : split_lines(igmp6)) {
    const auto words = words_of(line);
    if (words.size() < 3 || words[2].size() != 2 * sizeof(in6_addr)) continue;
    MulticastGroup group{.link = parse<int>(words[0], 10).value_or(0), .address = {}};
    for (size_t i = 0; i < sizeof(in6_addr); ++i)
      group.address.s6_addr[i] = parse<uint8_t>(words[2].substr(2 * i, 2), 16).value_or(0);
    if (!is_of_every_host(group.address)) groups.push_back(group);
  }
}

// BYTES: 4 or 16.
sockaddr_storage socket_address(std::string_view bytes) {
  sockaddr_storage address{};
  if (bytes.size() == sizeof(in_addr)) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, bytes.data(), sizeof v4.sin_addr);
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    std::memcpy(&v6.sin6_addr, bytes.data(), sizeof v6.sin6_addr);
  }
  return address;
}

std::string bytes_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr), sizeof(in_addr)};
  return {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr), sizeof(in6_addr)};
}

std::string bytes_of(const in6_addr& address) {
  const bool v4 = IN6_IS_ADDR_V4MAPPED(&address);
  return {reinterpret_cast<const char*>(&address.s6_addr[v4 ? 12 : 0]), v4 ? sizeof(in_addr) : sizeof(in6_addr)};
}

int level_of(std::string_view group) { return group.size() == sizeof(in_addr) ? IPPROTO_IP : IPPROTO_IPV6; }

// struct group_filter with room for a number of sources, as the kernel wants it: without padding.
class Filter {
 public:
  Filter(int link, std::string_view group, size_t sources) : bytes_(GROUP_FILTER_SIZE(std::max<size_t>(sources, 1))) {
    get().gf_interface = static_cast<uint32_t>(link);
    get().gf_group = socket_address(group);
    get().gf_numsrc = static_cast<uint32_t>(sources);
  }
  group_filter& get() { return *reinterpret_cast<group_filter*>(bytes_.data()); }
  bool ask(int socket, int level) {
    auto size = static_cast<socklen_t>(bytes_.size());
    return ::getsockopt(socket, level, MCAST_MSFILTER, bytes_.data(), &size) == 0;
  }
  bool set(int socket, int level) {
    return ::setsockopt(socket, level, MCAST_MSFILTER, bytes_.data(),
                        static_cast<socklen_t>(GROUP_FILTER_SIZE(get().gf_numsrc))) == 0;
  }

 private:
  std::vector<char> bytes_;
};

// By the kernel's oldest call for it where it is IPv4's: only that one takes the address, by which a program may leave
// the group again.
Result<> join(int socket, const peer::Membership& membership) {
  if (membership.group().size() == sizeof(in_addr)) {
    ip_mreqn request{};
    std::memcpy(&request.imr_multiaddr, membership.group().data(), sizeof request.imr_multiaddr);
    std::memcpy(&request.imr_address, membership.address().data(), membership.address().size());
    request.imr_ifindex = static_cast<int>(membership.link());
    if (::setsockopt(socket, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request) == 0) return {};
  } else {
    ipv6_mreq request{};
    std::memcpy(&request.ipv6mr_multiaddr, membership.group().data(), sizeof request.ipv6mr_multiaddr);
    request.ipv6mr_interface = membership.link();
    if (::setsockopt(socket, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request) == 0) return {};
  }
  return fail_errno("joining a multicast group");
}

}  // namespace

std::vector<MulticastGroup> joined_groups(std::string_view igmp, std::string_view igmp6) {
  std::vector<MulticastGroup> groups;
  add_v4_groups(igmp, groups);
  add_v6_groups(igmp6, groups);
  return groups;
}

std::vector<MulticastGroup> groups_around(pid_t pid) {
  constexpr size_t kTextBytesMax = size_t{1} << 20;
  const auto igmp = read_file(fmt::format("/proc/{}/net/igmp", pid), kTextBytesMax);
  const auto igmp6 = read_file(fmt::format("/proc/{}/net/igmp6", pid), kTextBytesMax);
  return joined_groups(igmp.value_or(""), igmp6.value_or(""));
}

// A socket is a member if the kernel tells the sources it takes the group from.
std::optional<peer::Membership> membership_in(int socket, const MulticastGroup& group) {
  const std::string bytes = bytes_of(group.address);
  for (size_t room = kFilterSources;;) {
    Filter filter(group.link, bytes, room);
    if (!filter.ask(socket, level_of(bytes))) return std::nullopt;
    const size_t sources = filter.get().gf_numsrc;
    if (sources > room && sources <= kMulticastSourcesMax) {
      room = sources;
      continue;
    }
    peer::Membership membership;
    membership.set_link(static_cast<uint32_t>(group.link));
    membership.set_group(bytes);
    membership.set_include(filter.get().gf_fmode == MCAST_INCLUDE);
    for (size_t i = 0; i < std::min(sources, room); ++i) membership.add_sources(bytes_of(filter.get().gf_slist[i]));
    return membership;
  }
}

Result<> check_membership(const peer::Membership& membership) {
  const std::string& group = membership.group();
  const bool v4 = group.size() == sizeof(in_addr);
  if (!v4 && group.size() != sizeof(in6_addr)) return fail("a multicast group of an odd size");
  const auto first = static_cast<uint8_t>(group[0]);
  if (v4 ? first >> 4 != 14 : first != 0xff) return fail("a group that is not a multicast address");
  if (membership.link() == 0 || membership.link() > INT_MAX) return fail("a multicast group on no link");
  if (membership.sources_size() > kMulticastSourcesMax) return fail("too many sources of a multicast group");
  for (const std::string& source : membership.sources())
    if (source.size() != group.size()) return fail("a source of another kind than its multicast group");
  if (!membership.address().empty() && (!v4 || membership.address().size() != sizeof(in_addr)))
    return fail("an odd address of a link");
  return {};
}

Result<> join_group(int socket, const peer::Membership& membership) {
  TRY(join(socket, membership));
  if (!membership.include() && membership.sources().empty()) return {};
  Filter filter(static_cast<int>(membership.link()), membership.group(),
                static_cast<size_t>(membership.sources_size()));
  filter.get().gf_fmode = membership.include() ? MCAST_INCLUDE : MCAST_EXCLUDE;
  for (int i = 0; i < membership.sources_size(); ++i) filter.get().gf_slist[i] = socket_address(membership.sources(i));
  if (!filter.set(socket, level_of(membership.group()))) return fail_errno("the sources of a multicast group");
  return {};
}

Result<> rejoin_group(int socket, const peer::Membership& membership) {
  group_req request{};
  request.gr_interface = membership.link();
  request.gr_group = socket_address(membership.group());
  if (::setsockopt(socket, level_of(membership.group()), MCAST_LEAVE_GROUP, &request, sizeof request) != 0)
    return fail_errno("leaving a multicast group");
  return join_group(socket, membership);
}

}  // namespace godwit
