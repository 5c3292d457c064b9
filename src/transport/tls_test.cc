#include "transport/tls.h"

#include <gmock/gmock.h>
#include <poll.h>

#include <future>
#include <thread>

#include "transport/openssl.h"
#include "transport/test_certificates.h"

namespace godwit {
namespace {

using testing::HasSubstr;
using Connection = std::unique_ptr<TlsConnection>;

class TlsTest : public testing::Test {
 protected:
  // What accepting one connection gives, in the background.
  Background<Result<Connection>> serve(const TlsContext& context, const AllowedPeers& allowed = {"node1"}) {
    return Background<Result<Connection>>(
        [this, context, allowed] { return TlsConnection::accept(context, port_.accept(), allowed, in_ms(5000)); });
  }
  Result<Connection> connect(const TlsContext& context, const std::string& name = "node2") {
    return TlsConnection::connect(context, port_.address(), name, in_ms(5000));
  }
  std::pair<Connection, Connection> connected() {
    auto server = serve(node2_);
    Connection client = must(connect(node1_));
    return {std::move(client), must(server.get())};
  }

  TestCertificates certificates_;
  TlsContext node1_ = certificates_.context("node1");
  TlsContext node2_ = certificates_.context("node2");
  TestPort port_;
};

TEST_F(TlsTest, BothSidesKnowEachOtherAndExchangeBytes) {
  auto [client, server] = connected();
  EXPECT_EQ(client->peer_names(), std::vector<std::string>{"node2"});
  EXPECT_EQ(server->peer_names(), std::vector<std::string>{"node1"});
  EXPECT_EQ(client->peer_address(), port_.address());
  must(client->send("ping", in_ms(5000)));
  char buffer[4];
  must(server->receive_exact(buffer, 4, in_ms(5000)));
  EXPECT_EQ(std::string(buffer, 4), "ping");
  EXPECT_TRUE(server->nothing_buffered());
}

// The server reads nothing until the socket has no room left: both the write and the flush have to wait for it.
TEST_F(TlsTest, GatheredSendsAllArriveInOrder) {
  auto [client, server] = connected();
  client->gather_sends();
  must(client->send("a", in_ms(5000)));
  char first;
  EXPECT_EQ(server->receive_some(&first, 1, in_ms(50)).error().code(), ETIMEDOUT) << "it waits for more";
  must(client->flush(in_ms(5000)));
  must(server->receive_exact(&first, 1, in_ms(5000)));
  EXPECT_EQ(first, 'a');

  std::string much(size_t{32} << 20, '\0');
  for (size_t i = 0; i < much.size(); ++i) much[i] = static_cast<char>(i * 131 + (i >> 14));
  Background<Result<>> sending([&]() -> Result<> {
    TRY(client->send(much, in_ms(20'000)));
    return client->flush(in_ms(20'000));
  });
  pollfd room{.fd = client->fd(), .events = POLLOUT, .revents = 0};
  while (::poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0) std::this_thread::yield();
  std::string got(much.size(), '\0');
  must(server->receive_exact(got.data(), got.size(), in_ms(20'000)));
  must(sending.get());
  EXPECT_TRUE(got == much);
  client->cancel();
  EXPECT_EQ(client->flush(in_ms(5000)).error().code(), ECANCELED);
}

TEST_F(TlsTest, ServerOfAnotherNameIsRefused) {
  auto server = serve(certificates_.context("node3"));
  auto client = connect(node1_);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().text(), "peer " + port_.address() + " is named 'node3', not 'node2'");
  EXPECT_EQ(client.error().code(), EACCES);
  server.wait();
}

TEST_F(TlsTest, ClientNotOnTheListIsRefused) {
  auto server = serve(node2_, {"node3", "node4"});
  auto client = connect(node1_);
  auto accepted = server.get();
  ASSERT_FALSE(accepted);
  EXPECT_EQ(accepted.error().code(), EACCES);
  EXPECT_THAT(accepted.error().text(), HasSubstr("is named 'node1', which is not allowed here"));
}

TEST_F(TlsTest, AnEmptyListAllowsNobody) {
  auto server = serve(node2_, {});
  auto client = connect(node1_);
  EXPECT_FALSE(server.get());
}

TEST_F(TlsTest, ExpiredServerIsRefusedWithTheReason) {
  auto server = serve(certificates_.context("node2", -1));
  auto client = connect(node1_);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().text(), "certificate of " + port_.address() + " is not acceptable: certificate has expired");
  auto accepted = server.get();
  ASSERT_FALSE(accepted);
  EXPECT_THAT(accepted.error().text(), HasSubstr("does not accept our certificate: "));
}

TEST_F(TlsTest, ExpiredClientIsRefusedAndLearnsWhy) {
  auto server = serve(node2_);
  auto client = connect(certificates_.context("node1", -1));
  auto accepted = server.get();
  ASSERT_FALSE(accepted);
  EXPECT_THAT(accepted.error().text(), HasSubstr("is not acceptable: certificate has expired"));
  ASSERT_TRUE(client);  // the verdict comes later in TLS 1.3
  char byte;
  auto received = (*client)->receive_some(&byte, 1, in_ms(5000));
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().text(), port_.address() + " does not accept our certificate: certificate expired");
  EXPECT_EQ(received.error().code(), EACCES);
}

TEST_F(TlsTest, CertificateOfAnotherCaIsRefused) {
  auto server = serve(certificates_.context("node2", 30, "other"));
  auto client = connect(node1_);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), EACCES);
  EXPECT_THAT(client.error().text(), HasSubstr("is not acceptable: it was not signed by our CA"));
  server.wait();
}

// A client made with OpenSSL directly, set up by CONFIGURE, against our server.
std::string raw_client_verdict(TestPort& port, const TlsContext& server_context, SSL_CTX* raw) {
  Background<Result<Connection>> server(
      [&] { return TlsConnection::accept(server_context, port.accept(), {"node1"}, in_ms(5000)); });
  ScopedFd socket = must(connect_tcp(port.address(), in_ms(5000)));
  std::unique_ptr<SSL, OpensslFree<SSL_free>> ssl(SSL_new(raw));
  SSL_set_fd(ssl.get(), socket.get());
  while (SSL_connect(ssl.get()) != 1 && SSL_get_error(ssl.get(), -1) == SSL_ERROR_WANT_READ)
    (void)wait_ready(socket.get(), 1 /* POLLIN */, in_ms(5000));
  ERR_clear_error();
  auto accepted = server.get();
  return accepted ? "accepted" : accepted.error().text();
}

using ContextPtr = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;

TEST_F(TlsTest, Tls12IsRefused) {
  const TlsFiles files = certificates_.files("node1");
  ContextPtr raw(SSL_CTX_new(TLS_method()));
  SSL_CTX_use_certificate_chain_file(raw.get(), files.cert.c_str());
  SSL_CTX_use_PrivateKey_file(raw.get(), files.key.c_str(), SSL_FILETYPE_PEM);
  EXPECT_EQ(raw_client_verdict(port_, node2_, raw.get()), "accepted");
  SSL_CTX_set_max_proto_version(raw.get(), TLS1_2_VERSION);
  EXPECT_THAT(raw_client_verdict(port_, node2_, raw.get()), HasSubstr("does not offer TLS 1.3"));
}

TEST_F(TlsTest, ClientWithoutACertificateIsRefused) {
  ContextPtr raw(SSL_CTX_new(TLS_method()));
  EXPECT_THAT(raw_client_verdict(port_, node2_, raw.get()), HasSubstr("has no certificate"));
}

TEST_F(TlsTest, APeerThatSaysNothingEndsAtTheDeadline) {
  ScopedFd silent = must(connect_tcp(port_.address(), in_ms(5000)));
  auto accepted = TlsConnection::accept(node2_, port_.accept(), {"node1"}, in_ms(50));
  ASSERT_FALSE(accepted);
  EXPECT_EQ(accepted.error().code(), ETIMEDOUT);
  auto [client, server] = connected();
  char byte;
  auto received = client->receive_some(&byte, 1, in_ms(20));
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ETIMEDOUT);
}

TEST_F(TlsTest, APeerThatReadsNothingEndsAtTheDeadline) {
  auto [client, server] = connected();
  auto sent = client->send(std::string(size_t{64} << 20, 'x'), in_ms(100));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ETIMEDOUT);
}

TEST_F(TlsTest, AClosedPeerIsAnErrorNotASignal) {
  auto [client, server] = connected();
  server.reset();
  char byte;
  auto received = client->receive_some(&byte, 1, in_ms(5000));
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ECONNRESET);
  auto sent = client->send(std::string(size_t{8} << 20, 'x'), in_ms(5000));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ECONNRESET);
}

TEST_F(TlsTest, CancelEndsAReceiveThatWaits) {
  auto [client, server] = connected();
  std::promise<void> waiting;
  auto received = std::async(std::launch::async, [&, raw = client.get()] {
    waiting.set_value();
    char byte;
    return raw->receive_some(&byte, 1, in_ms(60'000));
  });
  waiting.get_future().wait();
  client->cancel();
  auto result = received.get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ECANCELED);
  EXPECT_EQ(client->send("x", in_ms(5000)).error().code(), ECANCELED);
}

TEST_F(TlsTest, OneThreadSendsWhileAnotherReceives) {
  auto [client, server] = connected();
  const std::string data(size_t{4} << 20, 'd');
  auto exchange = [&data](TlsConnection& connection) {
    auto sender = std::async(std::launch::async, [&] { return connection.send(data, in_ms(30'000)).has_value(); });
    std::string got(data.size(), '\0');
    const bool received = connection.receive_exact(got.data(), got.size(), in_ms(30'000)).has_value();
    return sender.get() && received && got == data;
  };
  auto other = std::async(std::launch::async, [&, raw = server.get()] { return exchange(*raw); });
  EXPECT_TRUE(exchange(*client));
  EXPECT_TRUE(other.get());
}

class DiagnoseTest : public TlsTest {
 protected:
  std::string diagnose(const TlsContext& ours, const std::string& name = "node2") {
    auto result = diagnose_tls(ours, port_.address(), name, in_ms(5000));
    return result ? "" : result.error().text();
  }
};

TEST_F(DiagnoseTest, SaysNothingWhereNothingIsWrong) {
  auto server = std::async(std::launch::async, [&] {
    Connection peer = must(TlsConnection::accept(node2_, port_.accept(), {"node1"}, in_ms(5000)));
    must(peer->send("a gRPC server's settings", in_ms(5000)));
    return peer;
  });
  EXPECT_EQ(diagnose(node1_), "");
}

TEST_F(DiagnoseTest, NamesTheReasonOfEitherSide) {
  {
    auto server = serve(certificates_.context("node2", -1));
    EXPECT_THAT(diagnose(node1_), HasSubstr("is not acceptable: certificate has expired"));
  }
  {
    auto server = serve(node2_);
    EXPECT_THAT(diagnose(certificates_.context("node1", -1)),
                HasSubstr("does not accept our certificate: certificate expired"));
  }
  auto server = serve(node2_);
  EXPECT_THAT(diagnose(node1_, "node3"), HasSubstr("is named 'node2', not 'node3'"));
}

// As gRPC's servers do.
TEST_F(DiagnoseTest, AServerThatClosesWithoutAWordHasRefusedOurCertificate) {
  auto server = std::async(std::launch::async,
                           [&] { must(TlsConnection::accept(node2_, port_.accept(), {"node1"}, in_ms(5000))); });
  EXPECT_THAT(diagnose(node1_), HasSubstr("does not accept our certificate"));
}

TEST_F(DiagnoseTest, NamesAPortThatSpeaksSomethingElse) {
  auto server = std::async(std::launch::async, [&] {
    ScopedFd peer = port_.accept();
    ::send(peer.get(), "220 mail.example.com ESMTP\r\n", 28, MSG_NOSIGNAL);
    char request[4096];
    while (::recv(peer.get(), request, sizeof request, 0) > 0) {
    }
  });
  EXPECT_THAT(diagnose(node1_), HasSubstr("does not speak TLS"));
}

}  // namespace
}  // namespace godwit
