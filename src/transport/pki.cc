#include "transport/pki.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "base/file.h"
#include "base/identifier.h"
#include "base/undo.h"
#include "transport/openssl.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

// Certificates count as valid a little before they were made: hosts' clocks differ.
constexpr time_t kClockSkewSeconds = 3600;
constexpr time_t kDaySeconds = 86400;
constexpr mode_t kKeyMode = 0600;
constexpr mode_t kCertificateMode = 0644;

std::unexpected<Error> fail_openssl(const std::string& doing) { return fail(doing + ": " + openssl_error()); }

// --- Files ---------------------------------------------------------------------------------------

// Writes beside PATH and renames, so that PATH is never half-written. Without REPLACE, an existing
// PATH is an error (EEXIST), also if it appears in this very moment.
Result<> install_file(const fs::path& path, std::string_view content, mode_t mode, bool replace) {
  const fs::path temporary = path.string() + "." + random_id();
  TRY_ASSIGN(ScopedFd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
  UndoList undo;
  undo.add("temporary file", [&] { ::unlink(temporary.c_str()); });
  if (::fchmod(fd.get(), mode) != 0) return fail_errno("chmod " + temporary.string());
  TRY_DOING(path.string(), write_all(fd.get(), content));
  if (::fsync(fd.get()) != 0) return fail_errno("fsync " + path.string());
  const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), flags) != 0)
    return fail_errno("write " + path.string());
  undo.commit();
  return {};
}

template <typename Write>
Result<std::string> as_pem(Write write) {
  BioPtr memory(BIO_new(BIO_s_mem()));
  if (!memory || write(memory.get()) != 1) return fail_openssl("encode PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

Result<std::string> key_pem(EVP_PKEY* key) {
  return as_pem([&](BIO* out) { return PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

Result<std::string> certificate_pem(X509* certificate) {
  return as_pem([&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}

// --- Certificates --------------------------------------------------------------------------------

struct Issuer {
  X509Ptr certificate;
  PkeyPtr key;
};

Result<PkeyPtr> make_key() {
  PkeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return fail_openssl("make a key");
  return key;
}

bool set_serial(X509* certificate) {
  // 127 random bits: positive, and unique without a register (RFC 5280 allows 20 octets).
  std::string bytes = random_bytes(16);
  bytes[0] = static_cast<char>(bytes[0] & 0x7f);
  std::unique_ptr<BIGNUM, OpensslFree<BN_free>> number(
      BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()), 16, nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_validity(X509* certificate, int days) {
  const time_t now = std::time(nullptr);
  const time_t end = now + days * kDaySeconds;
  const time_t begin = std::min(now, end) - kClockSkewSeconds;
  return ASN1_TIME_set(X509_getm_notBefore(certificate), begin) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), end) != nullptr;
}

bool set_subject(X509* certificate, const std::string& name) {
  // ub-common-name is 64; the subject is for people, peers look at the SAN.
  const std::string common_name = name.substr(0, 64);
  return X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char*>(common_name.data()),
                                    static_cast<int>(common_name.size()), -1, 0) == 1;
}

// VALUE is in OpenSSL's configuration syntax; only for constants.
bool add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// A version 3 certificate without extensions, serial, validity, subject and key set.
Result<X509Ptr> blank_certificate(const std::string& subject, EVP_PKEY* key, int days) {
  if (days > kCertificateDaysMax || days < -kCertificateDaysMax)
    return fail("a certificate may be valid for at most " + std::to_string(kCertificateDaysMax) + " days");
  X509Ptr certificate(X509_new());
  if (!certificate || X509_set_version(certificate.get(), X509_VERSION_3) != 1 || !set_serial(certificate.get()) ||
      !set_validity(certificate.get(), days) || !set_subject(certificate.get(), subject) ||
      X509_set_pubkey(certificate.get(), key) != 1)
    return fail_openssl("make a certificate");
  return certificate;
}

Result<X509Ptr> make_ca_certificate(EVP_PKEY* key, int days) {
  // The digits tell one cluster's CA from another's, for people and in chain building.
  TRY_ASSIGN(X509Ptr ca, blank_certificate("godwit CA " + random_id(), key, days));
  X509* x = ca.get();
  if (X509_set_issuer_name(x, X509_get_subject_name(x)) != 1 ||
      !add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(x, x, NID_subject_key_identifier, "hash") || X509_sign(x, key, EVP_sha256()) == 0)
    return fail_openssl("make the CA's certificate");
  return ca;
}

bool add_name(GENERAL_NAMES* names, int type, ASN1_STRING* value) {
  GENERAL_NAME* entry = GENERAL_NAME_new();
  if (entry == nullptr || value == nullptr) return false;
  GENERAL_NAME_set0_value(entry, type, value);
  return sk_GENERAL_NAME_push(names, entry) > 0;
}

Result<> add_alternative_names(X509* certificate, const HostCertificate& host) {
  GeneralNamesPtr names(GENERAL_NAMES_new());
  ASN1_STRING* dns = ASN1_IA5STRING_new();
  if (!names || dns == nullptr || ASN1_STRING_set(dns, host.name.data(), static_cast<int>(host.name.size())) != 1 ||
      !add_name(names.get(), GEN_DNS, dns))
    return fail_openssl("name the certificate");
  for (const std::string& address : host.addresses) {
    ASN1_OCTET_STRING* ip = a2i_IPADDRESS(address.c_str());
    if (ip == nullptr) return fail("'" + address + "' is not an IP address");
    if (!add_name(names.get(), GEN_IPADD, ip)) return fail_openssl("name the certificate");
  }
  if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) != 1)
    return fail_openssl("name the certificate");
  return {};
}

Result<X509Ptr> make_signed_certificate(const HostCertificate& host, EVP_PKEY* key, const Issuer& ca) {
  TRY_ASSIGN(X509Ptr certificate, blank_certificate(host.name, key, host.days));
  X509* x = certificate.get();
  X509* issuer = ca.certificate.get();
  TRY(add_alternative_names(x, host));
  if (X509_set_issuer_name(x, X509_get_subject_name(issuer)) != 1 ||
      !add_extension(x, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(x, issuer, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(x, issuer, NID_ext_key_usage, "serverAuth,clientAuth") ||
      !add_extension(x, issuer, NID_subject_key_identifier, "hash") ||
      !add_extension(x, issuer, NID_authority_key_identifier, "keyid:always") ||
      X509_sign(x, ca.key.get(), EVP_sha256()) == 0)
    return fail_openssl("make the certificate of " + host.name);
  return certificate;
}

// Instead of OpenSSL's prompt on the terminal.
int no_passphrase(char*, int, int, void*) { return 0; }

Result<Issuer> load_ca(const fs::path& dir) {
  TRY_ASSIGN(const std::string certificate, read_file(dir / "ca.crt"));
  TRY_ASSIGN(const std::string key, read_file(dir / "ca.key"));
  BioPtr certificate_bio(BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size())));
  BioPtr key_bio(BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  Issuer ca{X509Ptr(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr)),
            PkeyPtr(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_passphrase, nullptr))};
  if (!ca.certificate) return fail_openssl((dir / "ca.crt").string());
  if (!ca.key) return fail_openssl((dir / "ca.key").string());
  if (X509_check_private_key(ca.certificate.get(), ca.key.get()) != 1)
    return fail_openssl(dir.string() + ": ca.key does not belong to ca.crt");
  if (X509_cmp_current_time(X509_get0_notAfter(ca.certificate.get())) < 0)
    return fail((dir / "ca.crt").string() + " has expired; make a new CA");
  return ca;
}

}  // namespace

Result<> make_ca(const fs::path& dir, int days, Overwrite overwrite) {
  const fs::path key_path = dir / "ca.key";
  TRY_ASSIGN(PkeyPtr key, make_key());
  TRY_ASSIGN(X509Ptr certificate, make_ca_certificate(key.get(), days));
  TRY_ASSIGN(const std::string key_text, key_pem(key.get()));
  TRY_ASSIGN(const std::string certificate_text, certificate_pem(certificate.get()));
  TRY(make_directories(dir));
  auto written = install_file(key_path, key_text, kKeyMode, overwrite == Overwrite::kForce);
  if (!written && written.error().code() == EEXIST)
    return fail(Error(key_path.string() + " exists: certificates made with it would stop working", EEXIST));
  TRY(std::move(written));
  return install_file(dir / "ca.crt", certificate_text, kCertificateMode, true);
}

Result<> make_host_certificate(const HostCertificate& host, const fs::path& ca_dir, const fs::path& out_dir) {
  TRY(check_name("node name", host.name));
  TRY_ASSIGN(const Issuer ca, load_ca(ca_dir));
  TRY_ASSIGN(PkeyPtr key, make_key());
  TRY_ASSIGN(X509Ptr certificate, make_signed_certificate(host, key.get(), ca));
  TRY_ASSIGN(const std::string key_text, key_pem(key.get()));
  TRY_ASSIGN(const std::string certificate_text, certificate_pem(certificate.get()));
  TRY_ASSIGN(const std::string ca_text, certificate_pem(ca.certificate.get()));
  TRY(make_directories(out_dir));
  TRY(install_file(out_dir / "host.key", key_text, kKeyMode, true));
  TRY(install_file(out_dir / "host.crt", certificate_text, kCertificateMode, true));
  return install_file(out_dir / "ca.crt", ca_text, kCertificateMode, true);
}

}  // namespace godwit
