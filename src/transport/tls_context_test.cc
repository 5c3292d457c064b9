#include "transport/tls_context.h"

#include <gmock/gmock.h>

#include "base/file.h"
#include "transport/test_certificates.h"

namespace godwit {
namespace {

using testing::HasSubstr;

class TlsContextTest : public testing::Test {
 protected:
  std::string load_error(const TlsFiles& files) {
    auto context = TlsContext::load(files);
    return context ? "loaded" : context.error().text();
  }
  TestCertificates certificates_;
};

TEST_F(TlsContextTest, KnowsItsOwnNames) {
  TlsContext context = must(TlsContext::load(certificates_.files("node1")));
  EXPECT_EQ(context.own_names(), std::vector<std::string>{"node1"});
}

TEST_F(TlsContextTest, MissingFilesAreNamed) {
  const TlsFiles good = certificates_.files("node1");
  TlsFiles files = good;
  files.ca = "/nonexistent/ca.crt";
  EXPECT_EQ(load_error(files), "CA certificate: open /nonexistent/ca.crt: No such file or directory");
  files = good;
  files.key = "/nonexistent/host.key";
  EXPECT_EQ(load_error(files), "key: open /nonexistent/host.key: No such file or directory");
}

TEST_F(TlsContextTest, FilesThatAreNoPemAreNamed) {
  const auto garbage = certificates_.directory() / "garbage";
  must(write_file(garbage, "not a certificate"));
  const TlsFiles good = certificates_.files("node1");
  EXPECT_THAT(load_error({garbage, good.cert, good.key}), HasSubstr(garbage.string()));
  EXPECT_THAT(load_error({good.ca, garbage, good.key}), HasSubstr(garbage.string()));
  EXPECT_EQ(load_error({good.ca, good.cert, garbage}), "key " + garbage.string() + " is not a usable PEM key");
}

TEST_F(TlsContextTest, KeyOfAnotherCertificateIsRefused) {
  const TlsFiles one = certificates_.files("node1");
  const TlsFiles two = certificates_.files("node2");
  EXPECT_EQ(load_error({one.ca, one.cert, two.key}),
            "key " + two.key.string() + " does not belong to certificate " + one.cert.string());
}

TEST_F(TlsContextTest, OwnExpiredCertificateIsRefusedUnlessAskedFor) {
  const TlsFiles files = certificates_.files("node1", -3);
  EXPECT_THAT(load_error(files), HasSubstr(files.cert.string() + ": the certificate expired on "));
  EXPECT_TRUE(TlsContext::load(files, OwnExpired::kAccept));
}

TEST_F(TlsContextTest, SaysWhyNobodyWillAcceptOurCertificate) {
  EXPECT_TRUE(certificates_.context("node1").check_own());

  const TlsFiles expired = certificates_.files("node1", -3);
  const TlsContext late = must(TlsContext::load(expired, OwnExpired::kAccept));
  EXPECT_THAT(late.check_own().error().text(), HasSubstr(expired.cert.string() + ": the certificate expired on "));

  const TlsFiles other = certificates_.files("node1", 30, "another-ca");
  const TlsFiles mixed{certificates_.files("node1").ca, other.cert, other.key};
  EXPECT_EQ(must(TlsContext::load(mixed)).check_own().error().text(),
            other.cert.string() + " is not signed by the CA in " + mixed.ca.string());
}

}  // namespace
}  // namespace godwit
