// Checks a Redis server over a migration. --connections connections, none of which ever reconnects.
// The first is blocked in BLPOP; each other one has one request in flight, one every --pace-us, and
// checks every reply: INCR must answer exactly one more than before; GET what the last SET wrote;
// RPUSH the new length, and the list must then hold every element once, in order. Measures the
// longest wait of any request. The data of `fill` lies in database 0, what the connections write in
// database 1.
//
// Commands, besides those of control_loop.h, each run on one of the same connections, not timed:
//   fill MIB    writes MIB MiB of values that do not compress, prints keys and digest
//   digest      reads all of them back; fails when one differs or the number of keys does; prints
//               digest (SHA-256) and keys
//   blpop       pushes an element; the blocked connection must get exactly that one, and blocks
//   again
// and `stop` checks the lists and counters a last time.
#include <hiredis/hiredis.h>
#include <openssl/evp.h>
#include <signal.h>

#include <cstring>
#include <thread>

#include "control_loop.h"
#include "flags.h"
#include "listen.h"

namespace godwit::workloads {
namespace {

using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;
using nlohmann::json;

constexpr size_t kValueBytes = 4064;  // fills an allocation of 4096 in Redis
constexpr int kDataDatabase = 0;
constexpr int kWorkDatabase = 1;
constexpr const char* kQueue = "queue";  // of the blocked connection

// A connection whose replies are checked. Errors are sticky: hiredis refuses a context after the
// first.
class Redis {
 public:
  Redis(const std::string& host, int port) : context_(redisConnect(host.c_str(), port)) {
    if (context_ == nullptr || context_->err != 0) {
      std::fprintf(stderr, "%s:%d: %s\n", host.c_str(), port, context_ == nullptr ? "no memory" : context_->errstr);
      std::exit(1);
    }
    no_delay(context_->fd);
  }
  ~Redis() { redisFree(context_); }
  Redis(const Redis&) = delete;

  void append(const std::vector<std::string>& words) {
    std::vector<const char*> pointers;
    std::vector<size_t> sizes;
    for (const std::string& word : words) {
      pointers.push_back(word.data());
      sizes.push_back(word.size());
    }
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), pointers.data(), sizes.data());
  }

  std::expected<Reply, std::string> next_reply() {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK)
      return std::unexpected(std::string("connection broken: ") + context_->errstr);
    return Reply(static_cast<redisReply*>(reply), freeReplyObject);
  }

  Status expect_integer(long long expected) {
    return check([&](const redisReply& r) { return r.type == REDIS_REPLY_INTEGER && r.integer == expected; },
                 std::to_string(expected));
  }
  Status expect_status(const char* expected) {
    return check([&](const redisReply& r) { return r.type == REDIS_REPLY_STATUS && std::strcmp(r.str, expected) == 0; },
                 expected);
  }
  Status expect_string(std::string_view expected) {
    return check(
        [&](const redisReply& r) { return r.type == REDIS_REPLY_STRING && std::string_view(r.str, r.len) == expected; },
        std::string(expected.substr(0, 40)));
  }
  Status expect_array(const std::vector<std::string>& expected) {
    return check(
        [&](const redisReply& r) {
          if (r.type != REDIS_REPLY_ARRAY || r.elements != expected.size()) return false;
          for (size_t i = 0; i < expected.size(); ++i)
            if (std::string_view(r.element[i]->str, r.element[i]->len) != expected[i]) return false;
          return true;
        },
        "a list of " + std::to_string(expected.size()));
  }

  Status select(int database) {
    append({"SELECT", std::to_string(database)});
    return expect_status("OK");
  }
  void shut_down() { shutdown(context_->fd, SHUT_RDWR); }

 private:
  template <typename Predicate>
  Status check(Predicate holds, const std::string& expected) {
    auto reply = next_reply();
    if (!reply) return std::unexpected(reply.error());
    const redisReply& r = **reply;
    if (holds(r)) return {};
    std::string got = r.type == REDIS_REPLY_INTEGER ? std::to_string(r.integer)
                      : r.str != nullptr            ? std::string(r.str, std::min<size_t>(r.len, 80))
                                                    : "a reply of type " + std::to_string(r.type) + ", " +
                                               std::to_string(r.elements) + " elements";
    return std::unexpected("wrong reply: " + got + " instead of " + expected);
  }

  redisContext* context_;
};

// What one connection writes and must read back.
class Worker {
 public:
  Worker(int number, Redis& redis) : id_(std::to_string(number)), redis_(redis) {}

  // Begins from nothing, whatever an earlier client left.
  Status prepare() {
    if (auto status = redis_.select(kWorkDatabase); !status) return status;
    redis_.append({"DEL", kQueue, counter(), list()});
    auto reply = redis_.next_reply();
    if (!reply) return std::unexpected(reply.error());
    return {};
  }

  Status request() {
    switch (turn_++ % 4) {
      case 0:
        redis_.append({"INCR", counter()});
        return redis_.expect_integer(++count_);
      case 1:
        ++written_;
        redis_.append({"SET", key(), value()});
        return redis_.expect_status("OK");
      case 2:
        redis_.append({"GET", key()});
        return redis_.expect_string(value());
      default:
        return push();
    }
  }

  // Everything written is there, once.
  Status final_check() {
    redis_.append({"GET", counter()});
    if (count_ > 0)
      if (auto status = redis_.expect_string(std::to_string(count_)); !status) return status;
    return check_list();
  }

 private:
  static constexpr size_t kListElements = 256;
  static constexpr uint64_t kKeys = 64;

  std::string counter() const { return "counter:" + id_; }
  std::string list() const { return "list:" + id_; }
  std::string key() const { return "key:" + id_ + ":" + std::to_string(written_ % kKeys); }
  std::string value() const { return "value " + std::to_string(written_) + " of " + id_; }

  Status push() {
    if (elements_.size() == kListElements) {
      if (auto status = check_list(); !status) return status;
      elements_.clear();
      redis_.append({"DEL", list()});
      return redis_.expect_integer(1);
    }
    elements_.push_back(std::to_string(turn_));
    redis_.append({"RPUSH", list(), elements_.back()});
    return redis_.expect_integer(static_cast<long long>(elements_.size()));
  }

  Status check_list() {
    redis_.append({"LRANGE", list(), "0", "-1"});
    return redis_.expect_array(elements_);
  }

  std::string id_;
  Redis& redis_;
  uint64_t turn_ = 0;
  long long count_ = 0;
  uint64_t written_ = 0;
  std::vector<std::string> elements_;
};

// The connection that is blocked in BLPOP.
class Waiter {
 public:
  explicit Waiter(Redis& redis) : redis_(redis), thread_([this] { loop(); }) {}
  ~Waiter() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    redis_.shut_down();
    thread_.join();
  }

  void expect(const std::string& element) {
    std::lock_guard lock(mutex_);
    expected_ = element;
  }

  Status await_delivery(std::chrono::seconds timeout) {
    std::unique_lock lock(mutex_);
    bool done = changed_.wait_for(lock, timeout, [this] { return failure_ || expected_.empty(); });
    if (failure_) return std::unexpected(*failure_);
    if (!done) return std::unexpected("the blocked connection got nothing");
    return {};
  }

  std::optional<std::string> failure() const {
    std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  void loop() {
    Status status = redis_.select(kWorkDatabase);
    while (status) {
      redis_.append({"BLPOP", kQueue, "0"});
      auto reply = redis_.next_reply();
      std::lock_guard lock(mutex_);
      status = check(reply);
      if (status) expected_.clear();
      changed_.notify_all();
    }
    std::lock_guard lock(mutex_);
    if (!stopping_) failure_ = "blocked connection: " + status.error();
    changed_.notify_all();
  }

  Status check(const std::expected<Reply, std::string>& reply) const {
    if (!reply) return std::unexpected(reply.error());
    const redisReply& r = **reply;
    if (r.type == REDIS_REPLY_ARRAY && r.elements == 2 && !expected_.empty() &&
        std::string_view(r.element[1]->str, r.element[1]->len) == expected_)
      return {};
    return std::unexpected("BLPOP gave something else than \"" + expected_ + "\"");
  }

  Redis& redis_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string expected_;
  std::optional<std::string> failure_;
  bool stopping_ = false;
  std::thread thread_;
};

// The data set: values made from their number, so that they can be checked without being kept.
class DataSet {
 public:
  DataSet() : sha_(EVP_MD_CTX_new()) {}
  ~DataSet() { EVP_MD_CTX_free(sha_); }
  DataSet(const DataSet&) = delete;

  Status fill(Redis& redis, size_t mib) {
    keys_ = (mib << 20) / kValueBytes;
    return in_batches(
        redis, [this, &redis](size_t i) { redis.append({"SET", key(i), value(i)}); },
        [&redis](size_t) { return redis.expect_status("OK"); });
  }

  // Reads it all back.
  Status check(Redis& redis) {
    EVP_DigestInit_ex(sha_, EVP_sha256(), nullptr);
    Status status = in_batches(
        redis, [this, &redis](size_t i) { redis.append({"GET", key(i)}); },
        [this, &redis](size_t i) -> Status {
          std::string expected = value(i);
          if (auto got = redis.expect_string(expected); !got)
            return std::unexpected("data set changed at " + key(i) + ": " + got.error());
          EVP_DigestUpdate(sha_, expected.data(), expected.size());
          return {};
        });
    if (!status) return status;
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(sha_, bytes, &size);
    digest_.clear();
    for (unsigned i = 0; i < size; ++i) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", bytes[i]);
      digest_ += hex;
    }
    return {};
  }

  json description() const { return {{"keys", keys_}, {"digest", digest_}}; }

 private:
  static std::string key(size_t i) { return "data:" + std::to_string(i); }

  static std::string value(size_t i) {
    std::string bytes(kValueBytes, '\0');
    uint64_t state = (i + 1) * 0x9e3779b97f4a7c15U;
    for (size_t at = 0; at + sizeof state <= kValueBytes; at += sizeof state) {  // splitmix64
      uint64_t z = state += 0x9e3779b97f4a7c15U;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
      z ^= z >> 31;
      std::memcpy(bytes.data() + at, &z, sizeof z);
    }
    return bytes;
  }

  // Database 0 for the time of it; `begin` sends one command per key, `end` takes its reply.
  template <typename Begin, typename End>
  Status in_batches(Redis& redis, Begin begin, End end) {
    constexpr size_t kBatch = 64;
    if (auto status = redis.select(kDataDatabase); !status) return status;
    for (size_t first = 0; first < keys_; first += kBatch) {
      size_t last = std::min(keys_, first + kBatch);
      for (size_t i = first; i < last; ++i) begin(i);
      for (size_t i = first; i < last; ++i)
        if (auto status = end(i); !status) return status;
    }
    redis.append({"DBSIZE"});
    if (auto status = redis.expect_integer(static_cast<long long>(keys_)); !status) return status;
    return redis.select(kWorkDatabase);
  }

  EVP_MD_CTX* sha_;
  size_t keys_ = 0;
  std::string digest_;
};

class Client {
 public:
  explicit Client(const Flags& flags) {
    for (long i = 0; i < flags.number("connections"); ++i)
      connections_.push_back(std::make_unique<Redis>(flags.text("host"), static_cast<int>(flags.number("port"))));
    for (size_t i = 1; i < connections_.size(); ++i) {
      Worker* worker = workers_.emplace_back(std::make_unique<Worker>(i, *connections_[i])).get();
      if (auto status = worker->prepare(); !status) fail(status.error());
      probers_.push_back(std::make_unique<Prober>(
          "connection " + std::to_string(i), [worker] { return worker->request(); },
          std::chrono::microseconds(flags.number("pace-us"))));
    }
    waiter_ = std::make_unique<Waiter>(*connections_[0]);
    for (auto& prober : probers_) prober->start();
  }

  ~Client() {
    for (auto& prober : probers_) prober->stop();
    for (auto& connection : connections_) connection->shut_down();
  }

  int run() {
    ControlLoop loop(probers_);
    loop.add_failure_source([this] { return waiter_->failure(); });
    loop.add_command("fill", [this](const std::string& mib) { return fill(mib); });
    loop.add_command("digest", [this](const std::string&) { return digest(); });
    loop.add_command("blpop", [this](const std::string&) { return blpop(); });
    loop.add_command("stop", [this](const std::string&) { return final_check(); });
    ControlLoop::print({{"event", "ready"}, {"ok", true}, {"connections", connections_.size()}});
    return loop.run();
  }

 private:
  using Outcome = std::expected<json, std::string>;

  [[noreturn]] static void fail(const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    std::exit(1);
  }

  // On the first working connection, between its requests.
  Status on_worker(std::function<Status(Redis&)> job) {
    return probers_[0]->run([&] { return job(*connections_[1]); });
  }

  Outcome fill(const std::string& mib) {
    auto size = std::strtoul(mib.c_str(), nullptr, 10);
    if (size == 0) return std::unexpected("fill: how many MiB?");
    if (auto status = on_worker([&](Redis& redis) { return data_.fill(redis, size); }); !status)
      return std::unexpected(status.error());
    return digest();
  }

  Outcome digest() {
    if (auto status = on_worker([&](Redis& redis) { return data_.check(redis); }); !status)
      return std::unexpected(status.error());
    return data_.description();
  }

  Outcome blpop() {
    std::string element = "element " + std::to_string(++pushed_);
    waiter_->expect(element);
    Clock::time_point began = Clock::now();
    Status status = on_worker([&](Redis& redis) {
      redis.append({"RPUSH", kQueue, element});
      return redis.expect_integer(1);
    });
    if (status) status = waiter_->await_delivery(std::chrono::seconds(30));
    if (!status) return std::unexpected(status.error());
    std::chrono::duration<double, std::milli> took = Clock::now() - began;
    return json{{"element", element}, {"ms", took.count()}};
  }

  Outcome final_check() {
    for (size_t i = 0; i < probers_.size(); ++i)
      if (auto status = probers_[i]->run([&] { return workers_[i]->final_check(); }); !status)
        return std::unexpected(status.error());
    return json{{"connections", connections_.size()}};
  }

  std::vector<std::unique_ptr<Redis>> connections_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Waiter> waiter_;
  std::vector<std::unique_ptr<Prober>> probers_;
  DataSet data_;
  uint64_t pushed_ = 0;
};

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  using namespace godwit::workloads;
  signal(SIGPIPE, SIG_IGN);  // a broken connection is a finding, not an end
  Flags flags(argc, argv, {{"host", "127.0.0.1"}, {"port", "6379"}, {"connections", "8"}, {"pace-us", "500"}});
  if (flags.number("connections") < 2) {
    std::fputs("--connections: at least 2\n", stderr);
    return 2;
  }
  return Client(flags).run();
}
