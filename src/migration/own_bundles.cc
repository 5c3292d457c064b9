#include "migration/own_bundles.h"

#include <set>
#include <system_error>
#include <vector>

#include "base/log.h"
#include "migration/target_record.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

fs::path directory_of(const Host& host) { return host.run_directory / "bundles"; }

std::vector<fs::path> entries_of(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) entries.push_back(entry.path());
  return entries;
}

}  // namespace

fs::path own_bundle_directory(const Host& host, const std::string& container) { return directory_of(host) / container; }

// A container that is on its way has a record before it has a bundle, and is known to runC before the record goes: so
// the bundles are listed first, and runC is asked last.
void remove_abandoned_bundles(const Host& host) {
  std::error_code error;
  const std::vector<fs::path> bundles = entries_of(directory_of(host));
  std::set<std::string> arriving;
  for (const fs::path& directory : entries_of(host.run_directory))
    if (auto container = recorded_container(directory)) arriving.insert(*container);
  for (const fs::path& bundle : bundles) {
    const std::string container = bundle.filename();
    if (arriving.contains(container) || fs::exists(host.runc.root / container, error) || error) continue;
    log::info("removing the bundle of {}, which has ended", container);
    fs::remove_all(bundle, error);
  }
}

}  // namespace godwit
