#include "runtime/oci_spec.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(OciSpec, TheNamedNetworkNamespaceIsFound) {
  auto spec = parse_oci_spec(R"({"root": {"path": "rootfs"}, "process": {"terminal": true},
    "mounts": [{"type": "tmpfs", "source": "tmpfs", "destination": "/tmp"},
               {"type": "none", "source": "/data", "destination": "/srv", "options": ["rbind"]}],
    "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/a"}],
              "resources": {"memory": {"limit": 1048576}}}})",
                             "/bundle");
  ASSERT_TRUE(spec) << spec.error().text();
  EXPECT_EQ(spec->rootfs, "/bundle/rootfs");
  EXPECT_EQ(spec->netns_path, "/run/netns/a");
  EXPECT_FALSE(spec->own_netns);
  EXPECT_TRUE(spec->terminal);
  ASSERT_EQ(spec->bind_mounts.size(), 1u);
  EXPECT_EQ(spec->bind_mounts[0].source, "/data");
  EXPECT_EQ(spec->memory_limit_bytes, 1048576u);
}

// The target writes a peer's config.json, which takes stack for each level.
TEST(OciSpec, OneThatIsNestedTooDeeplyIsRefused) {
  auto nested = [](size_t levels) {
    return R"({"root": {"path": "/r"}, "annotations": )" + std::string(levels, '[') + std::string(levels, ']') + "}";
  };
  EXPECT_TRUE(parse_oci_spec(nested(kOciSpecDepthMax - 1), "/bundle"));
  const auto refused = parse_oci_spec(nested(kOciSpecDepthMax), "/bundle");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text(), "config.json is nested too deeply");
  EXPECT_FALSE(parse_oci_spec(nested(500'000), "/bundle"));
}

TEST(OciSpec, ANamespaceWithoutPathIsTheContainersOwn) {
  auto spec = parse_oci_spec(R"({"root": {"path": "/r"}, "linux": {"namespaces": [{"type": "network"}]}})", "/bundle");
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->own_netns);
  EXPECT_FALSE(spec->netns_path);
}

TEST(OciSpec, BrokenTextIsAnErrorAndNothingElse) {
  for (const char* bad : {"", "{", "[]", "{}", R"({"root": 3})", R"({"root": {"path": 7}})",
                          R"({"root": {"path": "/r"}, "linux": {"namespaces": [3]}})",
                          R"({"root": {"path": "/r"}, "mounts": {"a": 1}})"}) {
    EXPECT_FALSE(parse_oci_spec(bad, "/bundle")) << bad;
  }
  EXPECT_FALSE(parse_oci_spec(std::string(kOciSpecBytesMax + 1, ' '), "/bundle"));
}

}  // namespace
}  // namespace godwit
