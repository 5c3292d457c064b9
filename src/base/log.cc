#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace godwit::log {

void init(std::string_view program, std::string_view level) {
  auto logger = spdlog::stderr_logger_mt(std::string(program));
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %n %l %v");
  logger->flush_on(spdlog::level::debug);
  spdlog::level::level_enum value = spdlog::level::info;
  if (level == "debug") value = spdlog::level::debug;
  if (level == "warn") value = spdlog::level::warn;
  if (level == "error") value = spdlog::level::err;
  logger->set_level(value);
  spdlog::set_default_logger(logger);
}

}  // namespace godwit::log
