#include "agent/peer_client.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "peer.grpc.pb.h"
#include "wire/protocol.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

gpr_timespec to_grpc(Deadline deadline) {
  const auto left = std::chrono::nanoseconds(deadline - Clock::now()).count();
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left, GPR_TIMESPAN));
}

class GrpcControlChannel : public ControlChannel {
 public:
  GrpcControlChannel(std::string node, std::shared_ptr<grpc::Channel> channel)
      : node_(std::move(node)), stub_(peer::Peer::NewStub(channel)), stream_(stub_->Migrate(&context_)) {
    watchdog_ = std::thread([this] { watch(); });
  }

  ~GrpcControlChannel() override {
    context_.TryCancel();
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    watchdog_.join();
  }

  Result<peer::TargetMessage> call(const peer::SourceMessage& request, Deadline deadline) override {
    set_deadline(deadline);
    peer::TargetMessage reply;
    const bool answered = stream_->Write(request) && stream_->Read(&reply);
    const bool late = !set_deadline(Deadline::max());
    if (answered) return reply;
    if (late) return fail(Error(node_ + " did not answer in time", ETIMEDOUT));
    return fail(Error(lost_text(), ECONNRESET));
  }

  void cancel() override { context_.TryCancel(); }

 private:
  // A synchronous gRPC stream has no deadline per message, so a thread breaks the call off.
  void watch() {
    std::unique_lock lock(mutex_);
    while (!ending_) {
      if (deadline_ == Deadline::max()) {
        changed_.wait(lock);
      } else if (changed_.wait_until(lock, deadline_) == std::cv_status::timeout && Clock::now() >= deadline_) {
        late_ = true;
        deadline_ = Deadline::max();
        context_.TryCancel();
      }
    }
  }

  // False if an earlier deadline has passed.
  bool set_deadline(Deadline deadline) {
    std::lock_guard lock(mutex_);
    deadline_ = deadline;
    changed_.notify_all();
    return !late_;
  }

  std::string lost_text() {
    if (finished_) return "the control connection to " + node_ + " is lost";
    finished_ = true;
    const grpc::Status status = stream_->Finish();
    std::string text = "the control connection to " + node_ + " is lost";
    if (!status.error_message().empty()) text += ": " + status.error_message();
    return text;
  }

  const std::string node_;
  std::unique_ptr<peer::Peer::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<peer::SourceMessage, peer::TargetMessage>> stream_;
  bool finished_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  Deadline deadline_ = Deadline::max();
  bool late_ = false;
  bool ending_ = false;
  std::thread watchdog_;
};

}  // namespace

GrpcPeerConnector::GrpcPeerConnector(std::map<std::string, std::string> peers, TlsTexts texts, TlsContext tls,
                                     PeerTimeouts timeouts)
    : peers_(std::move(peers)), texts_(std::move(texts)), tls_(std::move(tls)), timeouts_(timeouts) {}

Result<std::shared_ptr<grpc::Channel>> GrpcPeerConnector::open_channel(const std::string& node, Deadline deadline) {
  auto found = peers_.find(node);
  if (found == peers_.end()) return fail("unknown host '" + node + "': godwit.toml here has no such entry in [peers]");
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(node);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms(timeouts_));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive_ms(timeouts_));
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own for each migration
  arguments.SetMaxReceiveMessageSize(wire::kControlMessageBytesMax);
  arguments.SetMaxSendMessageSize(wire::kControlMessageBytesMax);
  auto channel = grpc::CreateCustomChannel(found->second, channel_credentials(texts_), arguments);

  deadline = std::min(deadline, Clock::now() + timeouts_.connect);
  grpc_connectivity_state state = channel->GetState(true);
  while (state != GRPC_CHANNEL_READY) {
    const bool changed =
        state != GRPC_CHANNEL_TRANSIENT_FAILURE && channel->WaitForStateChange(state, to_grpc(deadline));
    if (!changed) {
      // gRPC does not say why; a handshake of our own with the same port does.
      auto reason = diagnose_tls(tls_, found->second, node, Clock::now() + timeouts_.answer);
      std::string text =
          "cannot reach " + node + ": " + (reason ? found->second + ": no answer in time" : reason.error().text());
      if (auto own = tls_.check_own(); !own) text += " (" + own.error().text() + ")";
      return fail(std::move(text));
    }
    state = channel->GetState(true);
  }
  return channel;
}

Result<std::unique_ptr<ControlChannel>> GrpcPeerConnector::connect(const std::string& node, Deadline deadline) {
  TRY_ASSIGN(auto channel, open_channel(node, deadline));
  return std::make_unique<GrpcControlChannel>(node, std::move(channel));
}

Result<peer::OutcomeReply> GrpcPeerConnector::outcome(const std::string& node, const std::string& migration_id,
                                                      const std::string& container, Deadline deadline) {
  return ask_outcome(node, migration_id, container, false, deadline);
}

void GrpcPeerConnector::forget(const std::string& node, const std::string& migration_id, const std::string& container,
                               Deadline deadline) {
  (void)ask_outcome(node, migration_id, container, true, deadline);
}

Result<peer::OutcomeReply> GrpcPeerConnector::ask_outcome(const std::string& node, const std::string& migration_id,
                                                          const std::string& container, bool over, Deadline deadline) {
  TRY_ASSIGN(auto channel, open_channel(node, deadline));
  auto stub = peer::Peer::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(to_grpc(deadline));
  peer::OutcomeRequest request;
  request.set_migration_id(migration_id);
  request.set_container(container);
  request.set_over(over);
  peer::OutcomeReply reply;
  const grpc::Status status = stub->Outcome(&context, request, &reply);
  if (!status.ok()) return fail(status.error_message());
  return reply;
}

}  // namespace godwit
