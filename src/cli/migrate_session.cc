#include "cli/migrate_session.h"

#include <utility>

#include "cli/exit_code.h"

namespace godwit::cli {

namespace {

using namespace std::chrono_literals;

constexpr milliseconds kTick = 100ms;       // one frame of the spinner
constexpr milliseconds kIdGrace = 2s;       // a cancel waits so long for the migration's id
constexpr milliseconds kClosingGrace = 1s;  // and the report so long for the call to end

constexpr const char* kUntouched = "as before: the migration had not begun";

}  // namespace

control::Report report_of_failure(const control::MigrateRequest& request, const std::string& error,
                                  const std::string& state) {
  control::Report report;
  report.set_container(request.container());
  report.set_target(request.target());
  report.set_mode(request.mode());
  report.set_outcome("failed");
  report.set_error(error);
  report.set_state(state);
  return report;
}

SessionEnd MigrateSession::run(const control::MigrateRequest& request) {
  request_ = request;
  const auto stream = client_.migrate(request);
  std::thread reader([this, &stream] {
    control::MigrateEvent event;
    while (stream->next(event)) inbox_.push(event);
    inbox_.push(StreamEnded{stream->finish()});
  });
  Deadline tick = Clock::now() + kTick;
  while (!end_) {
    if (auto event = inbox_.pop_until(tick)) std::visit([this](auto& what) { handle(what); }, *event);
    check_deadline();
    if (Clock::now() < tick) continue;
    display_.tick();
    tick = Clock::now() + kTick;
  }
  client_.abort();
  reader.join();
  if (cancelling_.joinable()) cancelling_.join();
  display_.close(end_->exit_code == kExitOk ? PhaseEnd::kDone : PhaseEnd::kFailed);
  return *std::move(end_);
}

void MigrateSession::handle(control::MigrateEvent& event) {
  if (event.has_report()) {
    report_ = std::move(*event.mutable_report());
    // The agent ends the call now; one that does not is not waited for.
    deadline_ = Clock::now() + kClosingGrace;
    return;
  }
  if (!event.has_progress()) return;
  display_.progress(event.progress());
  const bool id_is_new = id_.empty() && !event.progress().migration_id().empty();
  if (id_is_new) id_ = event.progress().migration_id();
  if (id_is_new && cancel_wanted_) begin_cancel();
}

void MigrateSession::handle(StreamEnded& ended) {
  if (report_) {
    const int code = exit_code_of(*report_);
    end_ = SessionEnd{*std::move(report_), code};
  } else if (ended.how) {
    end_without_report("the agent ended the call without a report", "", kExitFailed);
  } else if (id_.empty() && cancel_wanted_) {
    end_without_report("cancelled before the agent had begun", "", kExitFailed);
  } else if (ended.how.error().code() == 0) {
    end_without_report(ended.how.error().text(), id_.empty() ? kUntouched : "", kExitFailed);
  } else {
    end_without_report("the agent was lost: " + ended.how.error().text(), "",
                       id_.empty() ? exit_code_of(ended.how.error()) : kExitFailed);
  }
}

void MigrateSession::handle(Interrupted&) {
  if (report_) return;  // over already
  if (cancel_wanted_) {
    display_.notice("leaving; the agent goes on cancelling, 'godwit status' shows how it ends");
    end_without_report("left at the second ^C, while the agent was cancelling", "", kExitQuit);
    return;
  }
  cancel_wanted_ = true;
  display_.notice("cancelling; " + request_.container() +
                  " goes on running on this host unless it has moved already (again: do not wait)");
  if (!id_.empty()) {
    begin_cancel();
  } else {
    deadline_ = Clock::now() + kIdGrace;
  }
}

void MigrateSession::handle(CancelAnswered& answered) {
  if (report_ || end_) return;
  // Too late, for example: the migration then goes on to its end.
  const std::string text = answered.reply ? answered.reply->text() : "not cancelled: " + answered.reply.error().text();
  if (!text.empty()) display_.notice(text);
}

void MigrateSession::begin_cancel() {
  if (!report_) deadline_.reset();
  cancelling_ = std::thread([this, id = id_] { inbox_.push(CancelAnswered{client_.cancel(id)}); });
}

// Ending the call ends the stream, which is handled as any end of it.
void MigrateSession::check_deadline() {
  if (!deadline_ || Clock::now() < *deadline_) return;
  deadline_.reset();
  client_.abort();
}

void MigrateSession::end_without_report(const std::string& error, std::string state, int exit_code) {
  if (state.empty()) state = "not known here; 'godwit status" + (id_.empty() ? "" : " " + id_) + "' tells";
  SessionEnd end{report_of_failure(request_, error, state), exit_code};
  end.report.set_migration_id(id_);
  end_ = std::move(end);
}

}  // namespace godwit::cli
