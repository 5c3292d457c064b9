// rtnetlink: requests built byte by byte, sent in batches, each with its own verdict. A batch of
// thirty changes is one system call and returns after the kernel has made them all, which is why
// the switch-over can afford it. (libnl-route acknowledges one by one and has no access to several
// attributes that are needed here: stickiness of fdb entries, link settings inside VETH_INFO_PEER,
// the kernel's own explanation of an error.)
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// One request: a fixed header struct, then attributes. Numbers are in host byte order unless said
// otherwise.
class NetlinkRequest {
 public:
  template <typename Header>
  NetlinkRequest(uint16_t type, uint16_t flags, const Header& header) {
    start(type, flags, std::string_view(reinterpret_cast<const char*>(&header), sizeof(header)));
  }

  NetlinkRequest& add(uint16_t attribute, std::string_view bytes);
  NetlinkRequest& add_u8(uint16_t attribute, uint8_t value);
  NetlinkRequest& add_u32(uint16_t attribute, uint32_t value);
  NetlinkRequest& add_string(uint16_t attribute, std::string_view text);  // NUL-terminated

  // Attributes that BODY adds lie inside ATTRIBUTE.
  NetlinkRequest& nest(uint16_t attribute, const std::function<void(NetlinkRequest&)>& body);
  // Bytes without an attribute header: the struct that precedes nested attributes in a few places.
  NetlinkRequest& append(std::string_view bytes);

  std::string_view bytes() const { return bytes_; }

 private:
  friend class RouteSocket;
  void start(uint16_t type, uint16_t flags, std::string_view header);
  void set_length();
  std::string bytes_;
};

// The attributes of a received message or of a nest, by number; the last of a number wins. Views
// into the message.
class NetlinkAttributes {
 public:
  explicit NetlinkAttributes(std::string_view bytes);

  bool has(uint16_t attribute) const { return find(attribute) != nullptr; }
  std::string_view bytes(uint16_t attribute) const;       // empty if absent
  std::optional<uint32_t> u32(uint16_t attribute) const;  // empty if absent or of another size
  std::optional<uint16_t> u16(uint16_t attribute) const;
  std::optional<uint8_t> u8(uint16_t attribute) const;
  std::string string(uint16_t attribute) const;  // without the NUL
  NetlinkAttributes nested(uint16_t attribute) const { return NetlinkAttributes(bytes(attribute)); }

  struct Attribute {
    uint16_t number;
    std::string_view value;
  };
  const std::vector<Attribute>& all() const { return all_; }

 private:
  const std::string_view* find(uint16_t attribute) const;
  std::vector<Attribute> all_;
};

// One received message.
struct NetlinkMessage {
  uint16_t type = 0;
  uint16_t flags = 0;
  std::string_view body;  // header struct and attributes

  // The header struct; zeros if the message is too short for it.
  template <typename Header>
  Header header() const {
    Header value{};
    if (body.size() >= sizeof(value)) std::memcpy(&value, body.data(), sizeof(value));
    return value;
  }
  template <typename Header>
  NetlinkAttributes attributes() const {
    size_t skip = NLMSG_ALIGN(sizeof(Header));
    return NetlinkAttributes(body.size() > skip ? body.substr(skip) : std::string_view());
  }
};

// A NETLINK_ROUTE socket, or one of another netlink family, bound to the network namespace the opening thread was in,
// for good. One thread at a time.
class RouteSocket {
 public:
  static Result<RouteSocket> open() { return open_family(NETLINK_ROUTE); }
  static Result<RouteSocket> open_family(int family);  // NETLINK_NETFILTER, NETLINK_XFRM, …

  // Sends REQUEST and waits for the verdict.
  Result<> call(const NetlinkRequest& request);

  // Sends all in order; each is tried whatever became of the others. One Result per request. The
  // outer error means the socket itself failed.
  Result<std::vector<Result<>>> call_all(std::span<const NetlinkRequest> requests);

  // Calls EACH for every message of a dump (NLM_F_DUMP is added). Starts over, after RESTART, when
  // the kernel says that the table changed meanwhile.
  Result<> dump(NetlinkRequest request, const std::function<void(const NetlinkMessage&)>& each,
                const std::function<void()>& restart);

  // Sends REQUEST, whose answer is one message, and hands it to USE. A refusal is an error.
  Result<> query(const NetlinkRequest& request, const std::function<void(const NetlinkMessage&)>& use);

 private:
  explicit RouteSocket(ScopedFd fd) : fd_(std::move(fd)) {}
  Result<> send(std::string_view bytes);
  Result<std::string_view> receive();
  Result<> call_chunk(std::span<const NetlinkRequest> requests, std::vector<Result<>>& verdicts);
  Result<bool> dump_once(const NetlinkRequest& request, const std::function<void(const NetlinkMessage&)>& each);

  ScopedFd fd_;
  uint32_t sequence_ = 0;
  std::vector<char> buffer_ = std::vector<char>(size_t{64} << 10);
};

}  // namespace godwit
