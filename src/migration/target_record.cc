#include "migration/target_record.h"

#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "kernel/netns.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

fs::path record_in(const fs::path& directory) { return directory / "taken.json"; }

Result<nlohmann::json> read_record(const fs::path& directory) {
  TRY_ASSIGN(std::string text, read_file(record_in(directory)));
  auto value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object()) return fail("cannot read " + record_in(directory).string());
  return value;
}

}  // namespace

Result<> write_target_record(const fs::path& directory, const TargetRecord& record) {
  const nlohmann::json value = {
      {"container", record.container}, {"netns", record.netns.string()}, {"bundle", record.bundle.string()}};
  return write_file(record_in(directory), value.dump());
}

Result<> remove_target_record(const fs::path& directory) {
  if (::unlink(record_in(directory).c_str()) != 0 && errno != ENOENT) return fail_errno("unlink the record");
  return {};
}

bool has_target_record(const fs::path& directory) {
  std::error_code error;
  return fs::exists(record_in(directory), error);
}

std::optional<std::string> recorded_container(const fs::path& directory) {
  auto value = read_record(directory);
  if (!value) return std::nullopt;
  return value->value("container", "");
}

Result<> give_back_recorded(const fs::path& directory, const RuncPaths& runc) {
  std::error_code error;
  if (!fs::exists(record_in(directory), error)) return {};
  TRY_ASSIGN(const nlohmann::json value, read_record(directory));
  TRY(Runc(runc).remove(value.value("container", "")));
  TRY(remove_named_netns(value.value("netns", "")));
  if (const std::string bundle = value.value("bundle", ""); !bundle.empty()) fs::remove_all(bundle, error);
  return {};
}

}  // namespace godwit
