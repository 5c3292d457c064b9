#include "migration/target_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/identifier.h"
#include "kernel/mounts.h"
#include "kernel/proc.h"
#include "kernel/tmpfs.h"
#include "kernel/userfaultfd.h"
#include "migration/own_bundles.h"
#include "migration/source_facts.h"
#include "migration/target_links.h"
#include "runtime/lens_files.h"

namespace godwit {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
// More than any host has, and no sum of it wraps round: the figure comes from a peer.
constexpr uint64_t kMemoryBytesMax = uint64_t{1} << 48;

// Processor features that programs look for and then use. Others (mitigations, virtualisation, power) do not matter
// to a process that has already started.
bool matters_to_programs(std::string_view flag) {
  static constexpr std::array kPrefixes = {"avx", "sse", "ssse", "amx", "bmi", "xsave"};
  static constexpr std::array kNames = {
      "aes",        "vaes",     "pclmulqdq", "vpclmulqdq", "fma",    "f16c",    "popcnt", "movbe", "lzcnt",
      "abm",        "adx",      "sha_ni",    "gfni",       "rdrand", "rdseed",  "rdtscp", "clwb",  "erms",
      "fsrm",       "fsgsbase", "cx16",      "rdpid",      "pku",    "movdiri", "rtm",    "hle",   "user_shstk",
      "clflushopt", "lahf_lm",  "movdir64b", "waitpkg",    "tbm",    "xop"};
  return std::ranges::any_of(kPrefixes, [&](auto prefix) { return flag.starts_with(prefix); }) ||
         std::ranges::find(kNames, flag) != kNames.end();
}

class Judge {
 public:
  Judge(const Host& host, const peer::Preflight& request) : host_(host), request_(request) {}

  peer::PreflightReply run() {
    check_tools();
    if (auto named = check_name("container name", request_.container()); !named) {
      add("name", named.error().text());
      return reply_;
    }
    check_container_name();
    check_memory();
    check_cpu();
    check_cgroups();
    check_network();
    auto spec = parse_oci_spec(request_.config_json(), request_.bundle());
    if (!spec) {
      add("config", spec.error().text());
    } else {
      check_spec(*spec);
    }
    return reply_;
  }

 private:
  void add(std::string subject, std::string text) {
    *reply_.add_problems() = problem(std::move(subject), std::move(text));
  }

  void check_tools() {
    utsname kernel{};
    ::uname(&kernel);
    reply_.set_kernel(kernel.release);
    auto runc = Runc(host_.runc).version();
    if (!runc) add("runc", runc.error().text());
    reply_.set_runc(runc.value_or("missing"));
    reply_.set_criu(criu_version(host_.criu).value_or("missing"));
    if (std::string text = criu_problem(host_); !text.empty()) add("criu", text);
    if (auto serves = check_userfaultfd(); !serves) reply_.set_no_userfaultfd(serves.error().text());
    auto tmpfs = is_on_tmpfs(host_.run_directory);
    if (!tmpfs) {
      add("run_dir", tmpfs.error().text());
    } else if (!*tmpfs) {
      add("run_dir", host_.run_directory.string() + " is not on a tmpfs");
    }
  }

  void check_container_name() {
    if (Runc(host_.runc).exists(request_.container()))
      add("name", fmt::format("there is a container '{}' on {} already", request_.container(), host_.node));
  }

  // The images, and beside them the memory that is restored from them.
  void check_memory() {
    const uint64_t memory = std::min(request_.memory_bytes(), kMemoryBytesMax);
    const uint64_t images = image_bytes_for(memory);
    if (images > host_.image_bytes_max)
      add("memory", fmt::format("its images may take {} MiB; limits.image_bytes_max on {} is {} MiB", images / kMiB,
                                host_.node, host_.image_bytes_max / kMiB));
    const uint64_t available = proc::meminfo_bytes("MemAvailable");
    reply_.set_memory_available_bytes(available);
    const uint64_t needed = 2 * memory + 64 * kMiB;
    if (needed > available)
      add("memory",
          fmt::format("{} MiB are needed on {} and {} MiB are available", needed / kMiB, host_.node, available / kMiB));
  }

  void check_cpu() {
    const std::vector<std::string> here = proc::cpu_flags();
    std::string missing;
    for (const std::string& flag : request_.cpu_flags())
      if (matters_to_programs(flag) && !std::ranges::binary_search(here, flag)) missing += " " + flag;
    if (!missing.empty())
      add("cpu", fmt::format("the processor of {} lacks features that programs may be using:{}", host_.node, missing));
  }

  // runC mounts in the container what is mounted here, and CRIU knows the mounts by these names.
  void check_cgroups() {
    auto mounts = read_mounts(::getpid());
    if (!mounts) return;
    const std::vector<std::string> here = cgroup_v1_mounts(*mounts);
    std::string missing;
    for (const std::string& name : request_.cgroup_v1_mounts())
      if (!std::ranges::binary_search(here, name)) missing += " " + name;
    if (!missing.empty())
      add("cgroups", fmt::format("the container has cgroup hierarchies (version 1) mounted that {} does not have:{}",
                                 host_.node, missing));
  }

  void check_network() {
    if (std::string text = hook_problem(host_.hooks); !text.empty()) add("hooks", host_.node + ": " + text);
    if (!request_.bridge().empty()) reply_.set_bridge(bridge_here(host_, request_.bridge()));
    for (peer::Problem& found : judge_links(host_, request_)) *reply_.add_problems() = std::move(found);
    for (const peer::CniAttachment& attachment : request_.cni())
      if (std::string text = network::cni_problem(host_.cni, attachment); !text.empty())
        add("cni", text + " on " + host_.node);
    if (request_.cni_size() > network::kCniAttachmentsMax) add("cni", "the source names too many attachments");
  }

  void check_spec(const OciSpec& spec) {
    check_rootfs(spec);
    for (const BindMount& mount : spec.bind_mounts)
      if (::access(mount.source.c_str(), F_OK) != 0)
        add("mounts",
            fmt::format("{} (mounted on {}) does not exist on {}", mount.source, mount.destination, host_.node));
    if (spec.netns_path && ::access(spec.netns_path->c_str(), F_OK) == 0)
      add("network", fmt::format("a network namespace {} exists on {} already", *spec.netns_path, host_.node));
    if (spec.netns_path) reply_.set_netns_path(*spec.netns_path);
    for (const peer::Stream& stream : request_.streams()) check_stream(stream);
    if (spec.own_userns) check_user_namespace();
  }

  // Its processes get userfaultfds, and into their network namespace, only with what is preloaded into CRIU.
  void check_user_namespace() {
    const std::string text = "the container has a user namespace, which " + host_.node + " cannot restore: ";
    if (!reply_.no_userfaultfd().empty()) add("userns", text + reply_.no_userfaultfd());
    if (auto lent = check_userfaultfd_device(); !lent) add("userns", text + lent.error().text());
    if (auto fit = check_lens(host_.runc.helpers / "mends.so", host_.criu); !fit)
      add("userns", text + fit.error().text());
  }

  void check_rootfs(const OciSpec& spec) {
    auto root = open_file(spec.rootfs, O_PATH | O_DIRECTORY);
    if (!root) {
      add("rootfs", fmt::format("{} does not exist on {}: the root file system must be there, the same on both hosts",
                                spec.rootfs.string(), host_.node));
      return;
    }
    constexpr int kShown = 5;
    int different = 0;
    for (const peer::FileIdentity& file : request_.files()) {
      std::string text = difference(root->get(), file);
      if (!text.empty() && ++different <= kShown) add("rootfs", spec.rootfs.string() + file.path() + " " + text);
    }
    if (different > kShown) add("rootfs", fmt::format("and {} more files", different - kShown));
  }

  // Paths come from a peer and links in the root file system from an image: nothing may lead out of the root.
  std::string difference(int root, const peer::FileIdentity& file) {
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    ScopedFd fd(static_cast<int>(::syscall(SYS_openat2, root, file.path().c_str(), &how, sizeof how)));
    if (!fd) return "is missing on " + host_.node;
    struct stat facts{};
    if (::fstat(fd.get(), &facts) != 0) return "cannot be looked at on " + host_.node;
    if (static_cast<uint64_t>(facts.st_size) != file.size())
      return fmt::format("has {} bytes on {} and {} on the source", facts.st_size, host_.node, file.size());
    if (facts.st_mode != file.mode())
      return fmt::format("has mode {:o} on {} and {:o} on the source", facts.st_mode & 07777u, host_.node,
                         file.mode() & 07777u);
    return "";
  }

  void check_stream(const peer::Stream& stream) {
    if (stream.kind() != peer::Stream::FILE) return;
    const fs::path path = stream.path();
    const bool reads = (stream.flags() & O_ACCMODE) == O_RDONLY;
    std::error_code error;
    const fs::path needed = reads ? path : path.parent_path();
    if (!fs::exists(needed, error))
      add("streams", fmt::format("{}, where descriptor {} of the container goes on, does not exist on {}",
                                 needed.string(), stream.fd(), host_.node));
  }

  const Host& host_;
  const peer::Preflight& request_;
  peer::PreflightReply reply_;
};

}  // namespace

peer::PreflightReply judge(const Host& host, const peer::Preflight& request) { return Judge(host, request).run(); }

fs::path bundle_on_target(const Host& host, const peer::Preflight& request) {
  fs::path same = request.bundle();
  auto text = read_file(same / "config.json", kOciSpecBytesMax);
  if (same.is_absolute() && text && *text == request.config_json()) return same;
  return own_bundle_directory(host, request.container());
}

uint64_t image_bytes_for(uint64_t memory_bytes) { return memory_bytes + memory_bytes / 4 + 64 * kMiB; }

}  // namespace godwit
