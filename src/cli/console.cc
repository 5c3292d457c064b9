#include "cli/console.h"

#include <langinfo.h>
#include <sys/ioctl.h>

#include <clocale>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "cli/format.h"

namespace godwit::cli {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// An I/O error here has nobody left to be told.
void write_or_drop(int fd, std::string_view text) { (void)write_all(fd, text).has_value(); }

}  // namespace

Console Console::detect() {
  std::setlocale(LC_CTYPE, "");
  Console console;
  const std::string term = environment("TERM");
  console.interactive = ::isatty(console.err_fd) == 1 && !term.empty() && term != "dumb";
  console.color = console.interactive && environment("NO_COLOR").empty();
  console.utf8 = std::string_view(::nl_langinfo(CODESET)) == "UTF-8";
  return console;
}

void Console::out(std::string_view text) const { write_or_drop(out_fd, text); }
void Console::err(std::string_view text) const { write_or_drop(err_fd, text); }

void Console::complain(std::string_view text) const { err("godwit: " + printable(text) + "\n"); }

int Console::width() const {
  winsize size{};
  if (::ioctl(err_fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const int columns = std::atoi(environment("COLUMNS").c_str());
  return columns > 0 ? columns : 80;
}

}  // namespace godwit::cli
