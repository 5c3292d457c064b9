// The command line as data. Only options.cc knows the library that parses it.
#pragma once

#include <expected>
#include <string>
#include <variant>

#include "control.pb.h"
#include "transport/pki.h"

namespace godwit::cli {

inline constexpr const char* kSocketDefault = "/run/godwit/godwitd.sock";

struct MigrateOptions {
  control::MigrateRequest request;
  bool json = false;
  bool quiet = false;  // no progress
};

struct CheckOptions {
  std::string container;
  std::string target;
  bool json = false;
};

struct PsOptions {
  bool json = false;
  bool quiet = false;  // names only
};

struct StatusOptions {
  std::string id;  // empty: all
  bool json = false;
  bool quiet = false;  // ids only
};

struct CancelOptions {
  std::string id;
};

struct ResolveOptions {
  control::ResolveRequest request;
  bool source = false;
  bool target = false;
  bool yes = false;  // the warning has been read
};

struct VersionOptions {
  bool json = false;
};

struct PkiCaOptions {
  std::string dir;
  int days = kCaDaysDefault;
  bool force = false;
};

struct PkiHostOptions {
  HostCertificate host;
  std::string ca_dir;
  std::string out_dir;
};

struct CommandLine {
  std::string socket = kSocketDefault;
  std::variant<std::monostate, MigrateOptions, CheckOptions, PsOptions, StatusOptions, CancelOptions, ResolveOptions,
               VersionOptions, PkiCaOptions, PkiHostOptions>
      command;
};

// The command line asked for nothing but text (--help), or was wrong.
struct CommandLineEnd {
  int exit_code = 0;
  std::string out;
  std::string err;
};

std::expected<CommandLine, CommandLineEnd> parse_command_line(int argc, const char* const* argv);

}  // namespace godwit::cli
