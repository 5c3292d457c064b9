#include "transport/socket_bio.h"

#include <openssl/bio.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <string>

namespace godwit {

namespace {

// What segmentation offload takes at once. A record of TLS is a quarter of it, and would be a segment of its own on
// its way through the kernel.
constexpr size_t kGatheredBytes = 65536;

struct State {
  int socket;
  bool end_of_file = false;
  bool gathers = false;
  std::string gathered = {};
};

State& state_of(BIO* bio) { return *static_cast<State*>(BIO_get_data(bio)); }

bool is_temporary(int code) { return code == EAGAIN || code == EWOULDBLOCK; }

int bio_read(BIO* bio, char* data, size_t size, size_t* got) {
  State& state = state_of(bio);
  BIO_clear_retry_flags(bio);
  ssize_t n;
  do {
    n = ::recv(state.socket, data, size, 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && is_temporary(errno)) BIO_set_retry_read(bio);
  if (n == 0) state.end_of_file = true;
  *got = n > 0 ? static_cast<size_t>(n) : 0;
  return n > 0 ? 1 : 0;
}

ssize_t send_some(BIO* bio, const char* data, size_t size) {
  ssize_t n;
  do {
    n = ::send(state_of(bio).socket, data, size, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && is_temporary(errno)) BIO_set_retry_write(bio);
  return n;
}

bool send_gathered(BIO* bio) {
  std::string& gathered = state_of(bio).gathered;
  ssize_t sent = 0;
  size_t all = 0;
  while (all < gathered.size() && (sent = send_some(bio, gathered.data() + all, gathered.size() - all)) > 0)
    all += static_cast<size_t>(sent);
  gathered.erase(0, all);
  return gathered.empty();
}

int bio_write(BIO* bio, const char* data, size_t size, size_t* put) {
  BIO_clear_retry_flags(bio);
  *put = 0;
  State& state = state_of(bio);
  if (state.gathers) {
    if (state.gathered.size() >= kGatheredBytes && !send_gathered(bio)) return 0;
    state.gathered.append(data, size);
    *put = size;
    return 1;
  }
  const ssize_t sent = send_some(bio, data, size);
  if (sent > 0) *put = static_cast<size_t>(sent);
  return sent > 0 ? 1 : 0;
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) {
    BIO_clear_retry_flags(bio);
    return send_gathered(bio) ? 1 : -1;
  }
  if (command == BIO_CTRL_EOF) return state_of(bio).end_of_file;
  return 0;
}

int bio_destroy(BIO* bio) {
  delete static_cast<State*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
  return 1;
}

// Made once and never freed, as OpenSSL's own methods are.
const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "godwit socket");
    BIO_meth_set_read_ex(made, bio_read);
    BIO_meth_set_write_ex(made, bio_write);
    BIO_meth_set_ctrl(made, bio_control);
    BIO_meth_set_destroy(made, bio_destroy);
    return made;
  }();
  return method;
}

}  // namespace

BioPtr make_socket_bio(int socket) {
  BioPtr bio(BIO_new(socket_method()));
  if (!bio) return bio;
  BIO_set_data(bio.get(), new State{socket});
  BIO_set_init(bio.get(), 1);
  return bio;
}

void gather_writes(BIO* bio) {
  state_of(bio).gathers = true;
  state_of(bio).gathered.reserve(2 * kGatheredBytes);
}

}  // namespace godwit
