#include "runtime/criu_fitness.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <charconv>
#include <map>
#include <mutex>
#include <utility>

#include "base/file.h"
#include "base/subprocess.h"
#include "runtime/runc.h"

namespace godwit {

namespace {

using MajorMinor = std::pair<int, int>;

MajorMinor parse_version(std::string_view text) {
  MajorMinor version{0, 0};
  const char* end = text.data() + text.size();
  auto [after, error] = std::from_chars(text.data(), end, version.first);
  if (error == std::errc{} && after != end && *after == '.') std::from_chars(after + 1, end, version.second);
  return version;
}

constexpr std::string_view kAdvice =
    "; tools/bootstrap (or godwit's package) brings one that works; runtime.criu in godwit.toml names it";

Result<> probe(const std::filesystem::path& criu) {
  auto version = criu_version(criu);
  if (!version) return fail(fmt::format("criu cannot be used: {}{}", version.error().text(), kAdvice));
  utsname kernel{};
  ::uname(&kernel);
  if (std::string text = known_misfit(*version, kernel.release); !text.empty())
    return fail(fmt::format("criu {} ({}) is unfit: {}{}", *version, criu.string(), text, kAdvice));
  auto checked = run_command({.argv = {criu.string(), "check"}}, std::chrono::seconds(30));
  if (!checked) return fail(std::move(checked.error()).during("criu check"));
  if (checked->status == 0) return {};
  const auto lines = split_lines(checked->errors);
  return fail(fmt::format("criu {} ({}) is unfit for kernel {}: {}{}", *version, criu.string(), kernel.release,
                          lines.empty() ? "criu check fails" : lines[0], kAdvice));
}

}  // namespace

std::string known_misfit(std::string_view version, std::string_view kernel) {
  if (parse_version(kernel) >= MajorMinor{6, 16} && parse_version(version) < MajorMinor{4, 2})
    return "before 4.2 it cannot dump TCP sockets on kernels from 6.16 on (SO_PASSCRED answers EOPNOTSUPP)";
  if (parse_version(version) < MajorMinor{3, 17}) return "godwit needs 3.17 or later";
  return "";
}

Result<> check_criu(const std::filesystem::path& criu) {
  struct Known {
    timespec modified;
    Result<> verdict;
  };
  static std::mutex mutex;
  static std::map<std::string, Known> known;

  struct stat facts{};
  if (::stat(criu.c_str(), &facts) != 0)
    return fail(fmt::format("criu is missing: {} does not exist{}", criu.string(), kAdvice));
  std::lock_guard lock(mutex);
  auto found = known.find(criu.string());
  if (found != known.end() && found->second.modified.tv_sec == facts.st_mtim.tv_sec &&
      found->second.modified.tv_nsec == facts.st_mtim.tv_nsec)
    return found->second.verdict;
  Result<> verdict = probe(criu);
  known.insert_or_assign(criu.string(), Known{facts.st_mtim, verdict});
  return verdict;
}

}  // namespace godwit
