#include "transport/pki.h"

#include <sys/stat.h>

#include "base/file.h"
#include "transport/openssl.h"
#include "transport/test_certificates.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;

X509Ptr load(const fs::path& path) {
  const std::string pem = must(read_file(path));
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return X509Ptr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

mode_t mode_of(const fs::path& path) {
  struct stat info{};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

class PkiTest : public testing::Test {
 protected:
  ScopedDirectory dir_;
};

TEST_F(PkiTest, KeysAreForTheirOwnerOnlyWhateverTheUmask) {
  const mode_t before = ::umask(0);
  must(make_ca(dir_ / "ca"));
  must(make_host_certificate({"node1", {}, 10}, dir_ / "ca", dir_ / "out"));
  ::umask(before);
  EXPECT_EQ(mode_of(dir_ / "ca/ca.key"), 0600u);
  EXPECT_EQ(mode_of(dir_ / "out/host.key"), 0600u);
  EXPECT_EQ(mode_of(dir_ / "out/host.crt"), 0644u);
}

TEST_F(PkiTest, CaIsACaAndNothingElse) {
  must(make_ca(dir_.path()));
  X509Ptr ca = load(dir_ / "ca.crt");
  ASSERT_TRUE(ca);
  EXPECT_EQ(X509_check_ca(ca.get()), 1);
  EXPECT_EQ(X509_get_key_usage(ca.get()), uint32_t{KU_KEY_CERT_SIGN | KU_CRL_SIGN});
  EXPECT_TRUE(X509_get_extension_flags(ca.get()) & EXFLAG_BCONS);
}

TEST_F(PkiTest, HostCertificateNamesTheHostForBothEnds) {
  must(make_ca(dir_.path()));
  must(make_host_certificate({"node1", {"10.99.1.1", "fd00::1"}, 10}, dir_.path(), dir_ / "out"));
  X509Ptr host = load(dir_ / "out/host.crt");
  X509Ptr ca = load(dir_ / "out/ca.crt");
  ASSERT_TRUE(host && ca);
  EXPECT_EQ(dns_names(host.get()), std::vector<std::string>{"node1"});
  EXPECT_EQ(X509_check_ip_asc(host.get(), "10.99.1.1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(host.get(), "fd00::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(host.get(), "10.99.1.2", 0), 0);
  EXPECT_EQ(X509_check_ca(host.get()), 0);
  EXPECT_EQ(X509_get_extended_key_usage(host.get()), uint32_t{XKU_SSL_SERVER | XKU_SSL_CLIENT});
  EXPECT_EQ(X509_check_issued(ca.get(), host.get()), X509_V_OK);
  EXPECT_EQ(X509_verify(host.get(), X509_get0_pubkey(ca.get())), 1);
  EXPECT_NE(X509_get0_authority_key_id(host.get()), nullptr);
  EXPECT_NE(X509_get0_subject_key_id(host.get()), nullptr);
}

TEST_F(PkiTest, SerialsDiffer) {
  must(make_ca(dir_.path()));
  must(make_host_certificate({"node1", {}, 10}, dir_.path(), dir_ / "a"));
  must(make_host_certificate({"node1", {}, 10}, dir_.path(), dir_ / "b"));
  EXPECT_NE(ASN1_INTEGER_cmp(X509_get0_serialNumber(load(dir_ / "a/host.crt").get()),
                             X509_get0_serialNumber(load(dir_ / "b/host.crt").get())),
            0);
}

TEST_F(PkiTest, ExistingCaIsReplacedOnlyByForce) {
  must(make_ca(dir_.path()));
  const std::string before = must(read_file(dir_ / "ca.key"));
  auto again = make_ca(dir_.path());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), EEXIST);
  EXPECT_EQ(must(read_file(dir_ / "ca.key")), before);
  must(make_ca(dir_.path(), 10, Overwrite::kForce));
  EXPECT_NE(must(read_file(dir_ / "ca.key")), before);
}

TEST_F(PkiTest, NothingTemporaryStays) {
  must(make_ca(dir_.path()));
  EXPECT_FALSE(make_ca(dir_.path()));
  int files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(dir_.path())) ++files;
  EXPECT_EQ(files, 2);
}

TEST_F(PkiTest, NegativeDaysMakeAnExpiredCertificate) {
  must(make_ca(dir_.path()));
  must(make_host_certificate({"node1", {}, -2}, dir_.path(), dir_ / "out"));
  X509Ptr host = load(dir_ / "out/host.crt");
  EXPECT_LT(X509_cmp_current_time(X509_get0_notAfter(host.get())), 0);
  EXPECT_EQ(ASN1_TIME_compare(X509_get0_notBefore(host.get()), X509_get0_notAfter(host.get())), -1);
}

TEST_F(PkiTest, NamesAndAddressesAreChecked) {
  must(make_ca(dir_.path()));
  for (const char* name : {"", "node1,DNS:node2", "a/b", "node 1"})
    EXPECT_FALSE(make_host_certificate({name, {}, 1}, dir_.path(), dir_ / "out")) << name;
  for (const char* address : {"", "10.99.1.1/16", "node1", "10.99.1", "10.0.0.1,DNS:x"})
    EXPECT_FALSE(make_host_certificate({"node1", {address}, 1}, dir_.path(), dir_ / "out")) << address;
  EXPECT_FALSE(make_host_certificate({"node1", {}, kCertificateDaysMax + 1}, dir_.path(), dir_ / "out"));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

TEST_F(PkiTest, AMissingOrMixedUpCaIsAClearError) {
  auto missing = make_host_certificate({"node1", {}, 1}, dir_ / "none", dir_ / "out");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().text().find("ca.crt"), std::string::npos);
  must(make_ca(dir_ / "a"));
  must(make_ca(dir_ / "b"));
  fs::copy_file(dir_ / "a/ca.key", dir_ / "b/ca.key", fs::copy_options::overwrite_existing);
  auto mixed = make_host_certificate({"node1", {}, 1}, dir_ / "b", dir_ / "out");
  ASSERT_FALSE(mixed);
  EXPECT_NE(mixed.error().text().find("ca.key does not belong to ca.crt"), std::string::npos);
}

}  // namespace
}  // namespace godwit
