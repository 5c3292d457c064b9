// Where the command writes: results to standard output, progress and complaints to standard error.
#pragma once

#include <unistd.h>

#include <string_view>

namespace godwit::cli {

struct Console {
  int out_fd = STDOUT_FILENO;
  int err_fd = STDERR_FILENO;
  bool interactive = false;  // standard error is a terminal that can move its cursor
  bool color = false;        // and NO_COLOR is not set
  bool utf8 = false;         // the locale's character set

  // From the environment (TERM, NO_COLOR, LC_CTYPE) and the descriptors; sets the C locale's
  // character type.
  static Console detect();

  // Each writes TEXT at once. A descriptor nobody reads any more is not an error: the exit status
  // still tells how it went.
  void out(std::string_view text) const;
  void err(std::string_view text) const;

  // "godwit: TEXT", for a person, on standard error.
  void complain(std::string_view text) const;

  // Columns of the terminal on standard error, now (it may be resized); 80 if unknown.
  int width() const;
};

}  // namespace godwit::cli
