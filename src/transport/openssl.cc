#include "transport/openssl.h"

namespace godwit {

std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown TLS error";
  if (const char* reason = ERR_reason_error_string(code)) return reason;
  char buffer[256];
  ERR_error_string_n(code, buffer, sizeof buffer);
  return buffer;
}

std::vector<std::string> dns_names(const X509* certificate) {
  std::vector<std::string> names;
  GeneralNamesPtr all(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; all && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* entry = sk_GENERAL_NAME_value(all.get(), i);
    if (entry->type != GEN_DNS) continue;
    std::string name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(entry->d.dNSName)),
                     static_cast<size_t>(ASN1_STRING_length(entry->d.dNSName)));
    if (name.find('\0') == std::string::npos) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace godwit
