#include "agent/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace godwit {
namespace {

using testing::HasSubstr;

constexpr std::string_view kRequired = R"(node = "node1"
[agent]
listen = "10.99.1.1:7410"
data_listen = "10.99.1.1:7411"
)";

// The error of the required keys followed by TEXT, whose first line is number 5.
std::string error_of(std::string_view text) {
  auto config = parse_config(std::string(kRequired) + std::string(text), "godwit.toml");
  return config ? "accepted" : config.error().text();
}

TEST(Config, EverythingButThreeKeysHasADefault) {
  auto config = parse_config(kRequired, "godwit.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->agent.socket, "/run/godwit/godwitd.sock");
  EXPECT_EQ(config->agent.group, "godwit");
  EXPECT_TRUE(config->agent.data_encryption);
  EXPECT_EQ(config->agent.data_congestion_control, "");
  EXPECT_EQ(config->tls.key, "/etc/godwit/tls/host.key");
  EXPECT_TRUE(config->peers.empty());
  EXPECT_EQ(config->network.bridge, "");
  EXPECT_EQ(config->network.hold_bytes_max, 67108864u);
  EXPECT_EQ(config->runtime.root, "/run/runc");
  EXPECT_EQ(config->limits.step_timeout, std::chrono::seconds(60));
  EXPECT_EQ(config->limits.migrations_max, 32);
  EXPECT_EQ(config->limits.peer.connect, PeerTimeouts{}.connect);
  EXPECT_EQ(config->limits.peer.answer, PeerTimeouts{}.answer);
  EXPECT_EQ(config->limits.peer.handshake, PeerTimeouts{}.handshake);
  EXPECT_EQ(config->limits.peer.dead_after, PeerTimeouts{}.dead_after);
}

TEST(Config, EveryKeyArrivesInItsPlace) {
  auto config = parse_config(R"(
node = "node1"
[agent]
socket = "/a/socket"
group = "wheel"
listen = "10.99.1.1:1"
data_listen = "[fd00::1]:2"
data_encryption = false
data_congestion_control = "reno"
run_dir = "/a/run"
log_level = "debug"
[tls]
ca = "/t/ca"
cert = "/t/cert"
key = "/t/key"
[peers]
node2 = "10.99.1.2:7410"
"node-3.example" = "node-3.example:7410"
[network]
bridge = "br0"
hold_bytes_max = 1
hold_packets_max = 2
[memory]
tracking = "soft-dirty"
[runtime]
runc = "/r/runc"
criu = "/r/criu"
root = "/r/root"
stream_log_dir = "/r/log"
[limits]
migrations_max = 3
step_timeout_s = 4
idle_timeout_s = 5
connect_timeout_s = 1
answer_timeout_s = 3600
handshake_timeout_s = 7
peer_dead_after_s = 4
image_bytes_max = 6000000
bandwidth_max = 7000000
)",
                             "godwit.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->node, "node1");
  EXPECT_EQ(config->agent.socket, "/a/socket");
  EXPECT_EQ(config->agent.group, "wheel");
  EXPECT_EQ(config->agent.listen, "10.99.1.1:1");
  EXPECT_EQ(config->agent.data_listen, "[fd00::1]:2");
  EXPECT_FALSE(config->agent.data_encryption);
  EXPECT_EQ(config->agent.data_congestion_control, "reno");
  EXPECT_EQ(config->agent.run_dir, "/a/run");
  EXPECT_EQ(config->agent.log_level, "debug");
  EXPECT_EQ(config->memory.tracking, "soft-dirty");
  EXPECT_EQ(config->tls.ca, "/t/ca");
  EXPECT_EQ(config->tls.cert, "/t/cert");
  EXPECT_EQ(config->tls.key, "/t/key");
  EXPECT_EQ(config->peers.at("node2"), "10.99.1.2:7410");
  EXPECT_EQ(config->peers.size(), 2u);
  EXPECT_EQ(config->network.bridge, "br0");
  EXPECT_EQ(config->network.hold_bytes_max, 1u);
  EXPECT_EQ(config->network.hold_packets_max, 2u);
  EXPECT_EQ(config->runtime.runc, "/r/runc");
  EXPECT_EQ(config->runtime.criu, "/r/criu");
  EXPECT_EQ(config->runtime.root, "/r/root");
  EXPECT_EQ(config->runtime.stream_log_dir, "/r/log");
  EXPECT_EQ(config->limits.migrations_max, 3);
  EXPECT_EQ(config->limits.step_timeout, std::chrono::seconds(4));
  EXPECT_EQ(config->limits.idle_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config->limits.peer.connect, std::chrono::seconds(1));
  EXPECT_EQ(config->limits.peer.answer, std::chrono::hours(1));
  EXPECT_EQ(config->limits.peer.handshake, std::chrono::seconds(7));
  EXPECT_EQ(config->limits.peer.dead_after, kDeadAfterMin);
  EXPECT_EQ(config->limits.image_bytes_max, 6000000u);
  EXPECT_EQ(config->limits.bandwidth_max, 7000000u);
}

TEST(Config, UnknownKeysAreRefusedWithTheirLine) {
  EXPECT_EQ(error_of("sokcet = \"/x\"\n"), "godwit.toml:5: unknown key 'agent.sokcet'");
  EXPECT_EQ(error_of("\n[limits]\nmigrations = 1\n"), "godwit.toml:7: unknown key 'limits.migrations'");
  EXPECT_EQ(error_of("[netwrok]\n"), "godwit.toml:5: unknown key 'netwrok'");
  EXPECT_EQ(error_of("[agent.tls]\n"), "godwit.toml:5: unknown key 'agent.tls'");
}

TEST(Config, WrongTypesAreRefusedWithTheirLine) {
  EXPECT_EQ(error_of("group = 7\n"), "godwit.toml:5: agent.group must be a string");
  EXPECT_EQ(error_of("data_encryption = \"no\"\n"), "godwit.toml:5: agent.data_encryption must be true or false");
  EXPECT_EQ(error_of("[limits]\nstep_timeout_s = 1.5\n"),
            "godwit.toml:6: limits.step_timeout_s must be a whole number");
  EXPECT_EQ(error_of("[peers]\nnode2 = 7410\n"), "godwit.toml:6: peers.node2 must be a string");
  EXPECT_EQ(parse_config("tls = 1\n", "f").error().text(), "f:1: tls must be a section, [tls]");
  EXPECT_EQ(error_of("[[peers]]\n"), "godwit.toml:5: peers must be a section, [peers]");
}

TEST(Config, ValuesOutOfRangeAreRefused) {
  EXPECT_EQ(error_of("[limits]\nmigrations_max = 0\n"), "godwit.toml:6: limits.migrations_max must be from 1 to 1024");
  EXPECT_THAT(error_of("[limits]\nmigrations_max = 99999999999999999999\n"), HasSubstr("godwit.toml:6: "));
  EXPECT_EQ(error_of("run_dir = \"run/godwit\"\n"), "godwit.toml:5: agent.run_dir must be an absolute path");
  EXPECT_EQ(error_of("data_congestion_control = \"sixteen_letters_\"\n"),
            "godwit.toml:5: agent.data_congestion_control is not the name of a congestion control");
  EXPECT_EQ(error_of("[memory]\ntracking = \"guess\"\n"),
            "godwit.toml:6: memory.tracking must be auto, uffd-wp, soft-dirty or none");
  EXPECT_EQ(error_of("log_level = \"chatty\"\n"), "godwit.toml:5: agent.log_level must be debug, info, warn or error");
  EXPECT_EQ(error_of("socket = \"/" + std::string(107, 's') + "\"\n"),
            "godwit.toml:5: agent.socket is longer than the 107 bytes of a unix socket's path");
  EXPECT_EQ(error_of("[peers]\nnode2 = \"10.99.1.2\"\n"), "godwit.toml:6: peers.node2: '10.99.1.2' is not host:port");
  EXPECT_EQ(error_of("[peers]\nnode2 = \"10.99.1.2:0\"\n"), "godwit.toml:6: peers.node2: needs a port from 1 to 65535");
  EXPECT_THAT(error_of("[peers]\n\"a/b\" = \"10.99.1.2:1\"\n"), HasSubstr("godwit.toml:6: peers: "));
  EXPECT_EQ(error_of("[network]\nbridge = \"a name that is too long\"\n"),
            "godwit.toml:6: network.bridge is not the name of a network link");
}

// At its edges and beyond.
TEST(Config, WaitsForAPeerHaveBounds) {
  const auto said = [](const std::string& key, int64_t value) {
    return error_of("[limits]\n" + key + " = " + std::to_string(value) + "\n");
  };
  for (const std::string key : {"connect_timeout_s", "answer_timeout_s", "handshake_timeout_s", "peer_dead_after_s"}) {
    const int64_t min = key == "peer_dead_after_s" ? 4 : 1;
    const std::string wrong = "godwit.toml:6: limits." + key + " must be from " + std::to_string(min) + " to 3600";
    EXPECT_EQ(said(key, min), "accepted");
    EXPECT_EQ(said(key, min - 1), wrong);
    EXPECT_EQ(said(key, 3600), "accepted");
    EXPECT_EQ(said(key, 3601), wrong);
  }
}

TEST(Config, TheHostsOwnEntryAmongThePeersIsNotUsed) {
  auto config = parse_config(std::string(kRequired) + R"([peers]
node1 = "10.99.1.1:7410"
node2 = "10.99.1.2:7410"
)",
                             "godwit.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_FALSE(config->peers.contains("node1"));
  EXPECT_TRUE(config->peers.contains("node2"));
}

TEST(Config, RequiredKeysAreAskedFor) {
  EXPECT_EQ(parse_config("", "f").error().text(), "f: required key 'node' is missing");
  EXPECT_EQ(parse_config("node = \"n\"\n", "f").error().text(), "f: required key 'agent.listen' is missing");
}

TEST(Config, WhatIsNotTomlIsRefusedWithItsLine) {
  EXPECT_THAT(error_of("group = \"unfinished\n"), HasSubstr("godwit.toml:5: "));
  EXPECT_THAT(error_of("group = \"a\"\ngroup = \"b\"\n"), HasSubstr("godwit.toml:6: "));
  EXPECT_FALSE(parse_config(std::string("\0\xff\xfe", 3), "f"));
}

TEST(Config, LettersThatAreNotAsciiBelongIntoComments) {
  EXPECT_EQ(error_of("# für Köln, \"\n[runtime]  # ä\nroot = \"/\\\"#\"\nlog_root = '/\\' # é\n").find("ASCII"),
            std::string::npos);
  EXPECT_THAT(error_of("\nü = 1\n"), HasSubstr("godwit.toml:6: letters that are not ASCII"));
  EXPECT_THAT(error_of("[runtime]\nroot = \"/#ü\"\n"), HasSubstr("godwit.toml:6: letters that are not ASCII"));
  EXPECT_THAT(error_of("[runtime]\nroot = \"\\ü\"\n"), HasSubstr("godwit.toml:6: letters that are not ASCII"));
  EXPECT_THAT(error_of("[runtime]\nroot = \"/#\" \xef\xbb\xbd\n"), HasSubstr("godwit.toml:6: letters that are not"));
  EXPECT_THAT(error_of("[runtime]\nroot = \"\"\"/a\nb\"\"\"\n"), HasSubstr("godwit.toml:6: a string ends in the line"));
}

TEST(Config, AMissingFileIsNamed) {
  auto config = load_config("/nonexistent/godwit.toml");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().text(), HasSubstr("/nonexistent/godwit.toml"));
}

// godwit.toml(5) heads each key with ".It Va KEY", in sections ".Ss [SECTION]", and gives its
// default.
TEST(ConfigManPage, HasEveryKeyInOrderWithItsDefault) {
  const auto page = std::filesystem::path(__FILE__).parent_path() / "../../man/godwit.toml.5";
  auto text = read_file(page);
  ASSERT_TRUE(text) << text.error().text();
  std::string expected, found, section;
  for (const ConfigKey& key : config_keys())
    expected += key.name + " " + key.type + " " + (key.default_value.empty() ? "required" : key.default_value) + "\n";
  for (const std::string& line : split_lines(*text)) {
    if (line.starts_with(".Ss [")) section = line.substr(5, line.size() - 6) + ".";
    if (!line.starts_with(".It Va ")) continue;
    std::string entry = line.substr(7);  // KEY Pq TYPE , DEFAULT
    entry.replace(entry.find(" Pq "), 4, " ");
    entry.replace(entry.find(" , "), 3, " ");
    for (size_t quote; (quote = entry.find("\\(dq")) != std::string::npos;) entry.replace(quote, 4, "\"");
    found += section + entry + "\n";
  }
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace godwit
