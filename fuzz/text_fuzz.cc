// Texts: what the kernel says about processes whose names and paths are a container's, config.json, godwit.toml, logs.
#include "agent/config.h"
#include "base/identifier.h"
#include "kernel/cgroup_tree.h"
#include "kernel/memory_maps.h"
#include "kernel/mounts.h"
#include "memory/owned_memory.h"
#include "runtime/criu_fitness.h"
#include "runtime/criu_log.h"
#include "runtime/oci_spec.h"
#include "target.h"

using namespace godwit;
using fuzz::require;

GODWIT_FUZZ_TARGET(maps) {
  auto maps = parse_maps(input);
  auto smaps = parse_smaps(input);
  if (maps)
    for (const Mapping& mapping : *maps) require(mapping.start < mapping.end, "a mapping has an extent");
  if (!smaps) return;
  const auto owned = owned_mappings(*smaps);
  require(owned.size() <= smaps->size(), "what is owned is a part");
  for (const Mapping& mapping : owned) require(!mapping.shared, "shared memory is not owned");
  const std::string text = smaps_text(*smaps);
  if (text.empty()) return;
  auto again = parse_smaps(text);
  require(again && again->size() == smaps->size(), "what CRIU reads has the same mappings");
  for (size_t i = 0; i < again->size(); ++i)
    require((*again)[i].start == (*smaps)[i].start && (*again)[i].vm_flags == (*smaps)[i].vm_flags, "with their flags");
}

GODWIT_FUZZ_TARGET(mountinfo) { (void)parse_mountinfo(input); }

GODWIT_FUZZ_TARGET(cgroups) {
  fuzz::Cutter cut(input);
  const std::string_view cgroup = cut.piece();
  if (auto mounts = parse_mountinfo(cut.rest())) (void)parse_cgroup_directories(cgroup, *mounts);
}

GODWIT_FUZZ_TARGET(oci_spec) {
  auto spec = parse_oci_spec(input, "/bundle");
  if (spec) require(spec->rootfs.is_absolute(), "the root file system has an absolute path");
}

GODWIT_FUZZ_TARGET(config) {
  auto config = parse_config(input, "fuzz.toml");
  if (!config) {
    require(!config.error().text().empty(), "an error says something");
    return;
  }
  require(check_name("node", config->node).has_value(), "the node has a name");
  require(config->limits.migrations_max > 0, "limits are sensible");
}

GODWIT_FUZZ_TARGET(criu_log) {
  for (const std::string& line : relevant_log_lines(input)) {
    require(line.size() <= 320, "a line is cut");
    for (char c : line) require(static_cast<unsigned char>(c) >= ' ', "a line has no control characters");
  }
  (void)known_misfit(input.substr(0, input.size() / 2), input.substr(input.size() / 2));
}
