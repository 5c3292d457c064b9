// Command-line flags of the workloads: `--name value`, each with a default.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace godwit::workloads {

class Flags {
 public:
  // `known` maps each accepted flag, without its dashes, to its default. Exits with 2 on any other.
  Flags(int argc, char** argv, std::map<std::string, std::string> known) : values_(std::move(known)) {
    for (int i = 1; i < argc; i += 2) {
      std::string name = argv[i];
      auto found = name.starts_with("--") ? values_.find(name.substr(2)) : values_.end();
      if (found == values_.end() || i + 1 == argc) usage(argv[0], name);
      found->second = argv[i + 1];
    }
  }

  const std::string& text(const std::string& name) const { return values_.at(name); }

  long number(const std::string& name) const {
    const std::string& value = values_.at(name);
    char* end = nullptr;
    long result = std::strtol(value.c_str(), &end, 10);
    if (value.empty() || *end != '\0' || result < 0) {
      std::fprintf(stderr, "--%s: not a number: %s\n", name.c_str(), value.c_str());
      std::exit(2);
    }
    return result;
  }

 private:
  [[noreturn]] void usage(const char* program, const std::string& wrong) const {
    std::fprintf(stderr, "%s: unknown flag or missing value: %s\nflags:", program, wrong.c_str());
    for (const auto& [name, value] : values_) std::fprintf(stderr, " --%s (%s)", name.c_str(), value.c_str());
    std::fputc('\n', stderr);
    std::exit(2);
  }

  std::map<std::string, std::string> values_;
};

}  // namespace godwit::workloads
