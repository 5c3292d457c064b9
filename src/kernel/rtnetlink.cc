#include "kernel/rtnetlink.h"

#include <sys/socket.h>

#include <algorithm>

namespace godwit {
namespace {

// Answers wait in the receive buffer, about 1 KiB of it each, until the whole batch is done.
constexpr size_t kBatchRequestsMax = 48;
constexpr int kDumpAttemptsMax = 8;

// The verdict in an NLMSG_ERROR (0: done), with the kernel's own words where it has some.
Result<> verdict_of(const NetlinkMessage& message) {
  auto error = message.header<nlmsgerr>();
  if (error.error == 0) return {};
  std::string explanation;
  if (message.flags & NLM_F_ACK_TLVS) {
    size_t skip = sizeof(nlmsgerr);
    if (!(message.flags & NLM_F_CAPPED)) skip += NLMSG_ALIGN(error.msg.nlmsg_len) - NLMSG_HDRLEN;
    if (message.body.size() > skip)
      explanation = NetlinkAttributes(message.body.substr(skip)).string(NLMSGERR_ATTR_MSG);
  }
  if (explanation.empty()) explanation = "the kernel refuses";
  return fail_errno(explanation, -error.error);
}

// Splits what one recv returned.
void for_each_message(std::string_view bytes, const std::function<void(const nlmsghdr&, const NetlinkMessage&)>& each) {
  while (bytes.size() >= NLMSG_HDRLEN) {
    nlmsghdr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > bytes.size()) return;
    each(header, {.type = header.nlmsg_type,
                  .flags = header.nlmsg_flags,
                  .body = bytes.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN)});
    bytes.remove_prefix(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), bytes.size()));
  }
}

template <typename T>
std::optional<T> number_of(std::string_view bytes) {
  T value;
  if (bytes.size() != sizeof(value)) return {};
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

}  // namespace

void NetlinkRequest::start(uint16_t type, uint16_t flags, std::string_view header) {
  nlmsghdr start{};
  start.nlmsg_type = type;
  start.nlmsg_flags = flags | NLM_F_REQUEST;
  bytes_.assign(reinterpret_cast<const char*>(&start), sizeof(start));
  append(header);
}

void NetlinkRequest::set_length() {
  auto length = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
}

NetlinkRequest& NetlinkRequest::append(std::string_view bytes) {
  bytes_.append(bytes);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  set_length();
  return *this;
}

NetlinkRequest& NetlinkRequest::add(uint16_t attribute, std::string_view bytes) {
  rtattr header{.rta_len = static_cast<uint16_t>(sizeof(rtattr) + bytes.size()), .rta_type = attribute};
  bytes_.append(reinterpret_cast<const char*>(&header), sizeof(header));
  return append(bytes);
}

NetlinkRequest& NetlinkRequest::add_u8(uint16_t attribute, uint8_t value) {
  return add(attribute, {reinterpret_cast<const char*>(&value), sizeof(value)});
}

NetlinkRequest& NetlinkRequest::add_u32(uint16_t attribute, uint32_t value) {
  return add(attribute, {reinterpret_cast<const char*>(&value), sizeof(value)});
}

NetlinkRequest& NetlinkRequest::add_string(uint16_t attribute, std::string_view text) {
  std::string with_nul(text);
  with_nul.push_back('\0');
  return add(attribute, with_nul);
}

NetlinkRequest& NetlinkRequest::nest(uint16_t attribute, const std::function<void(NetlinkRequest&)>& body) {
  size_t at = bytes_.size();
  add(attribute | NLA_F_NESTED, {});
  body(*this);
  auto length = static_cast<uint16_t>(bytes_.size() - at);
  std::memcpy(bytes_.data() + at + offsetof(rtattr, rta_len), &length, sizeof(length));
  return *this;
}

NetlinkAttributes::NetlinkAttributes(std::string_view bytes) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.rta_len < sizeof(rtattr) || header.rta_len > bytes.size()) return;
    all_.push_back({.number = static_cast<uint16_t>(header.rta_type & NLA_TYPE_MASK),
                    .value = bytes.substr(sizeof(rtattr), header.rta_len - sizeof(rtattr))});
    bytes.remove_prefix(std::min<size_t>(RTA_ALIGN(header.rta_len), bytes.size()));
  }
}

const std::string_view* NetlinkAttributes::find(uint16_t attribute) const {
  for (auto it = all_.rbegin(); it != all_.rend(); ++it)
    if (it->number == attribute) return &it->value;
  return nullptr;
}

std::string_view NetlinkAttributes::bytes(uint16_t attribute) const {
  const std::string_view* value = find(attribute);
  return value ? *value : std::string_view();
}

std::optional<uint32_t> NetlinkAttributes::u32(uint16_t attribute) const {
  return number_of<uint32_t>(bytes(attribute));
}

std::optional<uint16_t> NetlinkAttributes::u16(uint16_t attribute) const {
  return number_of<uint16_t>(bytes(attribute));
}

std::optional<uint8_t> NetlinkAttributes::u8(uint16_t attribute) const { return number_of<uint8_t>(bytes(attribute)); }

std::string NetlinkAttributes::string(uint16_t attribute) const {
  std::string_view value = bytes(attribute);
  return std::string(value.substr(0, value.find('\0')));
}

Result<RouteSocket> RouteSocket::open_family(int family) {
  ScopedFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family));
  if (!fd) return fail_errno("netlink socket");
  int on = 1;
  // Both only improve messages; kernels before 4.12 lack them.
  (void)setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  (void)setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
  return RouteSocket(std::move(fd));
}

Result<> RouteSocket::send(std::string_view bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof(kernel)) < 0)
    return fail_errno("netlink request");
  return {};
}

Result<std::string_view> RouteSocket::receive() {
  ssize_t bytes;
  do bytes = recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_TRUNC);
  while (bytes < 0 && errno == EINTR);
  if (bytes < 0) return fail_errno("netlink answer");
  if (static_cast<size_t>(bytes) > buffer_.size()) return fail("netlink answer is too long");
  return std::string_view(buffer_.data(), static_cast<size_t>(bytes));
}

Result<> RouteSocket::call_chunk(std::span<const NetlinkRequest> requests, std::vector<Result<>>& verdicts) {
  std::string batch;
  uint32_t first = sequence_ + 1;
  for (const NetlinkRequest& request : requests) {
    size_t at = batch.size();
    batch.append(request.bytes_);
    auto* header = reinterpret_cast<nlmsghdr*>(batch.data() + at);
    header->nlmsg_flags |= NLM_F_ACK;
    header->nlmsg_seq = ++sequence_;
  }
  TRY(send(batch));
  size_t base = verdicts.size();
  verdicts.resize(base + requests.size());
  for (size_t answered = 0; answered < requests.size();) {
    TRY_ASSIGN(std::string_view bytes, receive());
    for_each_message(bytes, [&](const nlmsghdr& header, const NetlinkMessage& message) {
      size_t which = header.nlmsg_seq - first;
      if (message.type != NLMSG_ERROR || which >= requests.size()) return;
      verdicts[base + which] = verdict_of(message);
      ++answered;
    });
  }
  return {};
}

Result<> RouteSocket::call(const NetlinkRequest& request) {
  std::vector<Result<>> verdicts;
  TRY(call_chunk(std::span(&request, 1), verdicts));
  return std::move(verdicts.front());
}

Result<std::vector<Result<>>> RouteSocket::call_all(std::span<const NetlinkRequest> requests) {
  std::vector<Result<>> verdicts;
  while (!requests.empty()) {
    size_t count = std::min(requests.size(), kBatchRequestsMax);
    TRY(call_chunk(requests.first(count), verdicts));
    requests = requests.subspan(count);
  }
  return verdicts;
}

Result<bool> RouteSocket::dump_once(const NetlinkRequest& request,
                                    const std::function<void(const NetlinkMessage&)>& each) {
  TRY(send(request.bytes_));
  bool done = false, interrupted = false;
  Result<> verdict;
  while (!done) {
    TRY_ASSIGN(std::string_view bytes, receive());
    for_each_message(bytes, [&](const nlmsghdr& header, const NetlinkMessage& message) {
      if (header.nlmsg_seq != sequence_ || done) return;
      interrupted |= (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      done = header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR;
      if (header.nlmsg_type == NLMSG_ERROR) verdict = verdict_of(message);
      // The end of a dump carries an error of its own, 0 for none.
      if (header.nlmsg_type == NLMSG_DONE && message.header<int32_t>() < 0)
        verdict = fail_errno("netlink dump", -message.header<int32_t>());
      if (!done) each(message);
    });
  }
  TRY(verdict);
  return !interrupted;
}

Result<> RouteSocket::dump(NetlinkRequest request, const std::function<void(const NetlinkMessage&)>& each,
                           const std::function<void()>& restart) {
  auto* header = reinterpret_cast<nlmsghdr*>(request.bytes_.data());
  header->nlmsg_flags |= NLM_F_DUMP;
  for (int attempt = 0; attempt < kDumpAttemptsMax; ++attempt) {
    header->nlmsg_seq = ++sequence_;
    restart();
    TRY_ASSIGN(bool consistent, dump_once(request, each));
    if (consistent) return {};
  }
  return fail_errno("the table keeps changing while it is read", EAGAIN);
}

Result<> RouteSocket::query(const NetlinkRequest& request, const std::function<void(const NetlinkMessage&)>& use) {
  NetlinkRequest numbered = request;
  reinterpret_cast<nlmsghdr*>(numbered.bytes_.data())->nlmsg_seq = ++sequence_;
  TRY(send(numbered.bytes_));
  for (bool answered = false; !answered;) {
    Result<> verdict;
    TRY_ASSIGN(std::string_view bytes, receive());
    for_each_message(bytes, [&](const nlmsghdr& header, const NetlinkMessage& message) {
      if (header.nlmsg_seq != sequence_ || answered) return;
      answered = true;
      if (header.nlmsg_type == NLMSG_ERROR)
        verdict = verdict_of(message);
      else
        use(message);
    });
    TRY(verdict);
  }
  return {};
}

}  // namespace godwit
