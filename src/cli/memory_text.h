// Rounds and post-copy as a person reads them, in the progress display and in the report. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "control.pb.h"

namespace godwit::cli {

// What a round did: time, pages, bytes and their rate, what the container wrote meanwhile, the downtime if the
// switch-over came now. For one line; each field stands by itself.
std::vector<std::string> round_fields(const control::Round& round);

// The same as rows of a table with a header; empty if there were no rounds.
std::vector<std::vector<std::string>> round_rows(const control::Report& report);

// "1200 pages in 1.20 s; 34 faults, 5 of them for pages still on the source, p50 85 us, p99 1.20 ms, max 3.40 ms"
std::string postcopy_text(const control::PostCopy& postcopy);

}  // namespace godwit::cli
