// The agent's configuration file, /etc/godwit/godwit.toml; godwit.toml(5) documents every key.
//
// A table in config.cc names each key once: type, default, check, place in Config. A key not in it,
// a value of another type or out of range is an error with file and line; so is a required key that
// is missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "transport/peer_timeouts.h"
#include "transport/tls_context.h"

namespace godwit {

inline constexpr std::string_view kConfigPathDefault = "/etc/godwit/godwit.toml";

struct Config {
  std::string node;  // this host's name, as its certificate and its peers' [peers] have it

  struct Agent {
    std::string socket;                   // unix socket of the control API, absolute path
    std::string group;                    // may use it besides root; ignored if it does not exist
    std::string listen;                   // host:port of the control connections of other agents
    std::string data_listen;              // host:port of the data connections
    bool data_encryption = true;          // false: plain data connections where the peer's says false too
    std::string data_congestion_control;  // TCP's, of data connections that leave: transport/congestion_control.h
    std::string run_dir;                  // images in flight; on a tmpfs (the agent checks at start)
    std::string log_level;                // debug, info, warn, error
  } agent;

  TlsFiles tls;  // absolute paths

  std::map<std::string, std::string> peers;  // node name to host:port of its control connections

  struct Network {
    std::string bridge;             // arriving containers are attached here; empty: same name as on the source
    uint64_t hold_bytes_max = 0;    // packets kept during the downtime, per migration: bytes
    uint64_t hold_packets_max = 0;  // and number
  } network;

  std::map<std::string, std::string> links;  // bridges and macvlan parents: name on other hosts to name on this one

  struct Hooks {  // absolute paths; empty: none
    std::string attached;
    std::string detached;
    std::string rolled_back;
    std::chrono::seconds timeout;
  } hooks;

  struct Cni {
    std::string conf_dir;   // network configurations
    std::string bin_dir;    // plugins
    std::string cache_dir;  // where managers keep results
  } cni;

  struct Memory {
    std::string tracking;  // auto, uffd-wp, soft-dirty, none
  } memory;

  struct Runtime {
    std::string runc;            // absolute path; empty: found on PATH
    std::string criu;            // absolute path; empty: the one tools/bootstrap chose, else found on PATH
    std::string root;            // runC's state directory (runc --root)
    std::string stream_log_dir;  // target: log files that take over from pipes and terminals
  } runtime;

  struct Limits {
    int migrations_max = 0;             // at once, arriving and leaving together
    std::chrono::seconds step_timeout;  // for each step that waits for a peer, runc or CRIU
    std::chrono::seconds idle_timeout;  // a data connection may go without progress
    PeerTimeouts peer;                  // what else waits for a peer
    uint64_t image_bytes_max = 0;       // bytes in run_dir of one arriving migration
    uint64_t bandwidth_max = 0;         // bytes per second of memory and files of all that leave; 0: no limit
  } limits;
};

Result<Config> load_config(const std::filesystem::path& path);
// FILE is the name in error messages: "godwit.toml:7: unknown key 'agent.sokcet'".
Result<Config> parse_config(std::string_view text, std::string_view file);

// All keys, dotted, in the order of the man page; [peers] appears as "peers.NAME".
struct ConfigKey {
  std::string name;
  std::string type;           // string, boolean, integer
  std::string default_value;  // as TOML; empty: required
};
std::vector<ConfigKey> config_keys();

}  // namespace godwit
