#include "migration/own_bundles.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/test_support.h"
#include "migration/target_record.h"

namespace godwit {
namespace {

class OwnBundles : public testing::Test {
 protected:
  OwnBundles() {
    host_.run_directory = directory_ / "run";
    host_.runc.root = directory_ / "runc";
    must(make_directories(host_.run_directory));
  }

  void add_bundle(const std::string& container) {
    must(make_directories(own_bundle_directory(host_, container)));
    must(write_file(own_bundle_directory(host_, container) / "config.json", "{}"));
  }
  bool has_bundle(const std::string& container) const {
    return std::filesystem::exists(own_bundle_directory(host_, container) / "config.json");
  }

  ScopedDirectory directory_;
  Host host_;
};

TEST_F(OwnBundles, OnlyThoseOfContainersThatHaveEndedAreRemoved) {
  for (const char* container : {"runs", "arrives", "ended"}) add_bundle(container);
  must(make_directories(host_.runc.root / "runs"));
  const auto arrival = host_.run_directory / "in-0123456789abcdef";
  must(make_directories(arrival));
  must(write_target_record(arrival, {.container = "arrives", .netns = {}, .bundle = {}}));

  remove_abandoned_bundles(host_);
  EXPECT_TRUE(has_bundle("runs"));
  EXPECT_TRUE(has_bundle("arrives"));
  EXPECT_FALSE(has_bundle("ended"));

  must(remove_target_record(arrival));
  remove_abandoned_bundles(host_);
  EXPECT_FALSE(has_bundle("arrives"));
}

TEST_F(OwnBundles, NoBundlesAreNoError) { remove_abandoned_bundles(host_); }

}  // namespace
}  // namespace godwit
