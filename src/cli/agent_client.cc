#include "cli/agent_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <set>

#include "cli/agent_socket.h"
#include "control.grpc.pb.h"

namespace godwit::cli {

namespace {

using namespace std::chrono_literals;
using control::Control;

constexpr auto kQueryLimit = 15s;  // answered from what the agent knows, or by one runc list
constexpr auto kCheckLimit = 90s;  // asks the target, and CRIU on both hosts

Result<> result_of(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return {};
    case grpc::StatusCode::UNAVAILABLE:
      return fail(Error("the agent stopped answering", ECONNRESET));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return fail(Error("the agent did not answer in time", ETIMEDOUT));
    case grpc::StatusCode::CANCELLED:
      return fail(Error("the call was ended", ECANCELED));
    case grpc::StatusCode::UNIMPLEMENTED:
      return fail("the agent does not know this request: it is of another version");
    default:
      return fail(status.error_message().empty() ? "the agent gave no reason" : status.error_message());
  }
}

// The contexts of running calls, so that they can be ended from another thread.
class Calls {
 public:
  void add(grpc::ClientContext& context) {
    const std::lock_guard lock(mutex_);
    running_.insert(&context);
    if (aborted_) context.TryCancel();
  }
  void remove(grpc::ClientContext& context) {
    const std::lock_guard lock(mutex_);
    running_.erase(&context);
  }
  void abort() {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    for (grpc::ClientContext* context : running_) context->TryCancel();
  }

 private:
  std::mutex mutex_;
  std::set<grpc::ClientContext*> running_;
  bool aborted_ = false;
};

class ScopedCall {
 public:
  explicit ScopedCall(Calls& calls) : calls_(calls) { calls_.add(context); }
  ~ScopedCall() { calls_.remove(context); }
  ScopedCall(const ScopedCall&) = delete;
  ScopedCall& operator=(const ScopedCall&) = delete;

  grpc::ClientContext context;

 private:
  Calls& calls_;
};

class GrpcStream : public MigrationStream {
 public:
  GrpcStream(Control::Stub& stub, Calls& calls, const control::MigrateRequest& request)
      : call_(calls), reader_(stub.Migrate(&call_.context, request)) {}

  bool next(control::MigrateEvent& event) override { return reader_->Read(&event); }
  Result<> finish() override { return result_of(reader_->Finish()); }

 private:
  ScopedCall call_;
  std::unique_ptr<grpc::ClientReader<control::MigrateEvent>> reader_;
};

class GrpcClient : public AgentClient {
 public:
  explicit GrpcClient(const std::string& socket)
      : stub_(Control::NewStub(grpc::CreateChannel("unix://" + socket, grpc::InsecureChannelCredentials()))) {}

  std::unique_ptr<MigrationStream> migrate(const control::MigrateRequest& request) override {
    return std::make_unique<GrpcStream>(*stub_, calls_, request);
  }
  Result<control::CheckReply> check(const control::CheckRequest& request) override {
    return call(&Control::Stub::Check, request, kCheckLimit);
  }
  Result<control::ListReply> list() override { return call(&Control::Stub::List, control::ListRequest(), kQueryLimit); }
  Result<control::StatusReply> status(const std::string& migration_id) override {
    control::StatusRequest request;
    request.set_migration_id(migration_id);
    return call(&Control::Stub::Status, request, kQueryLimit);
  }
  Result<control::CancelReply> cancel(const std::string& migration_id) override {
    control::CancelRequest request;
    request.set_migration_id(migration_id);
    return call(&Control::Stub::Cancel, request, kQueryLimit);
  }
  Result<control::ResolveReply> resolve(const control::ResolveRequest& request) override {
    return call(&Control::Stub::Resolve, request, kQueryLimit);
  }
  Result<control::VersionReply> version() override {
    return call(&Control::Stub::Version, control::VersionRequest(), kQueryLimit);
  }
  void abort() override { calls_.abort(); }

 private:
  template <typename Request, typename Reply>
  Result<Reply> call(grpc::Status (Control::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                     const Request& request, std::chrono::seconds limit) {
    ScopedCall call(calls_);
    call.context.set_deadline(std::chrono::system_clock::now() + limit);
    Reply reply;
    TRY(result_of((stub_.get()->*method)(&call.context, request, &reply)));
    return reply;
  }

  Calls calls_;
  std::unique_ptr<Control::Stub> stub_;
};

}  // namespace

Result<std::unique_ptr<AgentClient>> connect_agent(const std::string& socket) {
  TRY(probe_agent_socket(socket));
  return std::make_unique<GrpcClient>(std::filesystem::absolute(socket).string());
}

}  // namespace godwit::cli
