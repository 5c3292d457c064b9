#include "cli/memory_options.h"

#include <array>
#include <charconv>
#include <functional>
#include <optional>
#include <string_view>

#include "cli/mode.h"
#include "cli/quantity.h"

namespace godwit::cli {

namespace {

using control::MigrateRequest;

constexpr unsigned kRoundsMax = 10'000;
constexpr unsigned kStreamsMax = 16;

constexpr const char* kTimeHelp = "a time such as 50ms, 0.1s or 2min";
constexpr const char* kRateHelp = "a rate such as 1gbit, 100mbit or 50MB/s (at least 8kbit)";

template <typename Value>
struct Choice {
  std::string_view name;
  Value value;
};

constexpr std::array<Choice<control::LimitPolicy>, 2> kLimitPolicies = {
    {{"roll-back", control::ROLL_BACK}, {"take-downtime", control::TAKE_DOWNTIME}}};
constexpr std::array<Choice<control::Compression>, 4> kCompressions = {{{"auto", control::COMPRESSION_AUTO},
                                                                        {"none", control::COMPRESSION_NONE},
                                                                        {"lz4", control::LZ4},
                                                                        {"zstd", control::ZSTD}}};
constexpr std::array<Choice<control::Tracking>, 4> kTrackings = {{{"auto", control::TRACKING_AUTO},
                                                                  {"uffd-wp", control::UFFD_WP},
                                                                  {"soft-dirty", control::SOFT_DIRTY},
                                                                  {"none", control::TRACKING_NONE}}};

// An option whose text SET takes in; where it returns false the text is refused as not being EXPECTED.
CLI::Option* add_option(CLI::App& command, const std::string& name, const std::string& description,
                        const std::string& type, const std::string& expected,
                        std::function<bool(const std::string&)> set) {
  const auto take = [set = std::move(set), expected](const std::string& text) {
    return set(text) ? std::string() : "'" + text + "' is not " + expected;
  };
  return command.add_option_function<std::string>(
                    name, [](const std::string&) {}, description)
      ->check(CLI::Validator(take, "", name))
      ->type_name(type);
}

template <typename Value, size_t kCount>
CLI::Option* add_choice(CLI::App& command, const std::string& name, const std::string& description,
                        const std::array<Choice<Value>, kCount>& choices, const std::function<void(Value)>& set) {
  std::string names;
  for (const auto& choice : choices) names += (names.empty() ? "" : "|") + std::string(choice.name);
  return add_option(command, name, description, names, "one of " + names, [&choices, set](const std::string& text) {
    for (const auto& choice : choices) {
      if (choice.name == text) return set(choice.value), true;
    }
    return false;
  });
}

// Whole numbers from 1 to MAX.
std::function<bool(const std::string&)> count(unsigned max, std::function<void(unsigned)> set) {
  return [max, set = std::move(set)](const std::string& text) {
    unsigned value = 0;
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || parsed != end || value < 1 || value > max) return false;
    return set(value), true;
  };
}

std::function<bool(const std::string&)> time(std::function<void(double)> set_ms) {
  return [set_ms = std::move(set_ms)](const std::string& text) {
    const auto ms = parse_time_ms(text);
    if (ms) set_ms(*ms);
    return ms.has_value();
  };
}

void add_mode(CLI::App& command, MigrateRequest& request) {
  std::string names;
  for (const auto& name : mode_names()) names += (names.empty() ? "" : "|") + name;
  add_option(command, "--mode", "How memory travels [auto]", names, "one of " + names,
             [&request](const std::string& text) {
               const auto mode = mode_named(text);
               if (mode) request.set_mode(*mode);
               return mode.has_value();
             });
}

void add_limits(CLI::App& command, MigrateRequest& request) {
  add_option(command, "--downtime-max", "Rounds end when what is left fits this downtime [50ms]", "TIME", kTimeHelp,
             time([&request](double ms) { request.set_downtime_max_ms(ms); }));
  add_option(command, "--rounds-max", "At most so many rounds [30]", "N",
             "a number from 1 to " + std::to_string(kRoundsMax),
             count(kRoundsMax, [&request](unsigned rounds) { request.set_rounds_max(rounds); }));
  add_option(command, "--timeout", "At most so long for all rounds together [none]", "TIME", kTimeHelp,
             time([&request](double ms) { request.set_timeout_s(ms / 1000); }));
  add_choice<control::LimitPolicy>(command, "--at-limit", "What precopy does when a limit is reached [roll-back]",
                                   kLimitPolicies,
                                   [&request](control::LimitPolicy policy) { request.set_at_limit(policy); });
  CLI::Option* may = command.add_flag_function(
      "--throttle", [&request](int64_t) { request.set_throttling(control::THROTTLE); },
      "Precopy may slow the container down when rounds alone do not help [it may]");
  command
      .add_flag_function(
          "--no-throttle", [&request](int64_t) { request.set_throttling(control::NO_THROTTLE); }, "It may not")
      ->excludes(may);
}

void add_transport(CLI::App& command, MigrateRequest& request) {
  add_option(command, "--streams", "Data connections for memory", "N",
             "a number from 1 to " + std::to_string(kStreamsMax),
             count(kStreamsMax, [&request](unsigned streams) { request.set_streams(streams); }));
  add_choice<control::Compression>(command, "--compress", "Of memory on the wire [auto]", kCompressions,
                                   [&request](control::Compression how) { request.set_compression(how); });
  add_option(command, "--bandwidth-max", "Memory is sent no faster than this [no limit]", "RATE", kRateHelp,
             [&request](const std::string& text) {
               const auto rate = parse_rate(text);
               if (rate) request.set_bandwidth_max(*rate);
               return rate.has_value();
             });
}

}  // namespace

void add_memory_options(CLI::App& command, MigrateRequest& request) {
  add_mode(command, request);
  add_limits(command, request);
  add_transport(command, request);
  add_choice<control::Tracking>(command, "--tracking", "How written memory is found", kTrackings,
                                [&request](control::Tracking method) { request.set_tracking(method); })
      ->group("");  // for tests: not in --help
}

}  // namespace godwit::cli
