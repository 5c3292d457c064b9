// What --json prints: one object on one line, without the line's end. Keys are a contract with
// scripts (docs and godwit(1) list them); they are only ever added.
#pragma once

#include <string>

#include "base/result.h"
#include "control.pb.h"

namespace godwit::cli {

std::string report_json(const control::Report& report);
std::string check_json(const control::CheckRequest& request, const control::CheckReply& reply);
std::string list_json(const control::ListReply& reply);
std::string status_json(const control::StatusReply& reply);
// An agent that cannot be asked is null, and agent_error says why.
std::string version_json(const Result<control::VersionReply>& agent);
// Any of the above that could not be had: {"error": TEXT}.
std::string error_json(const std::string& text);

}  // namespace godwit::cli
