// The fake agent's implementation; the only test file that includes gRPC. Its name makes it a part
// of the test program.
#include "cli/fake_agent.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "base/file.h"
#include "base/scoped_fd.h"
#include "cli/commands.h"
#include "control.grpc.pb.h"

namespace godwit::cli {

namespace {

using namespace std::chrono_literals;

[[maybe_unused]] const bool signals_blocked = [] {
  sigset_t set;
  ::sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM}) {
    ::signal(number, SIG_DFL);  // a shell's background job starts with SIGINT ignored
    ::sigaddset(&set, number);
  }
  return ::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0;
}();

grpc::Status status_of(const Error& error) {
  const auto code = error.code() == 0 ? grpc::StatusCode::FAILED_PRECONDITION : grpc::StatusCode::UNAVAILABLE;
  return {code, error.text()};
}

class Service final : public control::Control::Service {
 public:
  explicit Service(FakeAnswers answers) : answers_(std::move(answers)) {}

  grpc::Status Migrate(grpc::ServerContext* context, const control::MigrateRequest* request,
                       grpc::ServerWriter<control::MigrateEvent>* writer) override;
  grpc::Status Check(grpc::ServerContext*, const control::CheckRequest*, control::CheckReply* reply) override {
    *reply = answers_.check;
    return grpc::Status::OK;
  }
  grpc::Status List(grpc::ServerContext*, const control::ListRequest*, control::ListReply* reply) override {
    *reply = answers_.list;
    return grpc::Status::OK;
  }
  grpc::Status Status(grpc::ServerContext*, const control::StatusRequest*, control::StatusReply* reply) override {
    *reply = answers_.status;
    return grpc::Status::OK;
  }
  grpc::Status Cancel(grpc::ServerContext*, const control::CancelRequest* request,
                      control::CancelReply* reply) override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_id_ = request->migration_id();
    }
    changed_.notify_all();
    if (!answers_.cancel) return status_of(answers_.cancel.error());
    *reply = *answers_.cancel;
    return grpc::Status::OK;
  }
  grpc::Status Resolve(grpc::ServerContext*, const control::ResolveRequest* request,
                       control::ResolveReply* reply) override {
    if (!answers_.resolve) return status_of(answers_.resolve.error());
    *reply = *answers_.resolve;
    reply->set_text(reply->text() + (request->side() == control::SOURCE ? " source" : " target"));
    return grpc::Status::OK;
  }
  grpc::Status Version(grpc::ServerContext*, const control::VersionRequest*, control::VersionReply* reply) override {
    *reply = answers_.version;
    return grpc::Status::OK;
  }

  std::string await_cancel(grpc::ServerContext& context) {
    std::unique_lock lock(mutex_);
    // The end of a call wakes nobody: it is looked for.
    while (cancelled_id_.empty() && !context.IsCancelled()) changed_.wait_for(lock, 5ms);
    return cancelled_id_;
  }

 private:
  const FakeAnswers answers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string cancelled_id_;
};

class Call final : public FakeCall {
 public:
  Call(Service& service, grpc::ServerContext& context, grpc::ServerWriter<control::MigrateEvent>& writer)
      : service_(service), context_(context), writer_(writer) {}

  void send(const control::Progress& progress) override {
    control::MigrateEvent event;
    *event.mutable_progress() = progress;
    writer_.Write(event);
  }
  void send(const control::Report& report) override {
    control::MigrateEvent event;
    *event.mutable_report() = report;
    writer_.Write(event);
  }
  std::string await_cancel() override { return service_.await_cancel(context_); }

 private:
  Service& service_;
  grpc::ServerContext& context_;
  grpc::ServerWriter<control::MigrateEvent>& writer_;
};

grpc::Status Service::Migrate(grpc::ServerContext* context, const control::MigrateRequest* request,
                              grpc::ServerWriter<control::MigrateEvent>* writer) {
  Call call(*this, *context, *writer);
  const auto result = answers_.migrate(*request, call);
  return result ? grpc::Status::OK : status_of(result.error());
}

std::string make_temporary_directory() {
  std::string path = std::filesystem::temp_directory_path() / "godwit-cli-XXXXXX";
  return ::mkdtemp(path.data()) != nullptr ? path : "";
}

std::string content_of(const ScopedFd& fd) {
  ::lseek(fd.get(), 0, SEEK_SET);
  return read_fd(fd.get()).value_or("");
}

}  // namespace

struct FakeAgent::Server {
  explicit Server(FakeAnswers answers) : service(std::move(answers)) {}
  std::string directory = make_temporary_directory();
  std::string socket = directory + "/agent.sock";
  Service service;
  std::unique_ptr<grpc::Server> server;
};

FakeAgent::FakeAgent(FakeAnswers answers) : server_(std::make_unique<Server>(std::move(answers))) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix://" + server_->socket, grpc::InsecureServerCredentials());
  builder.RegisterService(&server_->service);
  server_->server = builder.BuildAndStart();
}

FakeAgent::~FakeAgent() {
  server_->server->Shutdown(std::chrono::system_clock::now() + 5s);
  std::filesystem::remove_all(server_->directory);
}

const std::string& FakeAgent::socket() const { return server_->socket; }

std::string Ran::last_line() const {
  const auto lines = split_lines(out);
  return lines.empty() ? "" : lines.back();
}

Ran run_godwit(const std::string& socket, std::vector<std::string> arguments, On on) {
  arguments.insert(arguments.begin(), {"godwit", "--socket", socket});
  std::vector<const char*> argv;
  for (const auto& argument : arguments) argv.push_back(argument.c_str());
  const ScopedFd out(::memfd_create("stdout", MFD_CLOEXEC));
  const ScopedFd err(::memfd_create("stderr", MFD_CLOEXEC));
  const Console console{
      .out_fd = out.get(), .err_fd = err.get(), .interactive = on == On::kTerminal, .color = false, .utf8 = false};
  Ran ran;
  ran.exit_code = run_command_line(static_cast<int>(argv.size()), argv.data(), console);
  ran.out = content_of(out);
  ran.err = content_of(err);
  return ran;
}

control::Progress progress_event(const std::string& id, const std::string& phase, uint64_t bytes) {
  control::Progress progress;
  progress.set_migration_id(id);
  progress.set_phase(phase);
  progress.set_bytes_sent(bytes);
  progress.set_phase_begins(bytes == 0);
  if (bytes == 0) progress.set_text(phase + " it");
  return progress;
}

control::Report report_with(const std::string& outcome) {
  control::Report report;
  report.set_migration_id("0123456789abcdef");
  report.set_container("web");
  report.set_source("node1");
  report.set_target("node2");
  report.set_outcome(outcome);
  report.set_mode(control::COLD);
  if (outcome != "migrated") report.set_error("restore on node2 failed: no memory");
  return report;
}

void press_interrupt() { ::kill(::getpid(), SIGINT); }

}  // namespace godwit::cli
