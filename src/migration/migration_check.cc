#include "migration/migration_check.h"

#include <fmt/format.h>

#include "base/identifier.h"
#include "migration/handshake.h"
#include "migration/source_facts.h"
#include "migration/source_memory.h"
#include "runtime/lens_files.h"

namespace godwit {

namespace {

void add(google::protobuf::RepeatedPtrField<control::CheckReply::Finding>& list, const std::string& host,
         const std::string& subject, const std::string& text) {
  control::CheckReply::Finding& finding = *list.Add();
  finding.set_host(host);
  finding.set_subject(subject);
  finding.set_text(text);
}

std::string mebibytes(uint64_t bytes) { return fmt::format("{} MiB", bytes >> 20); }

// The target's judgement of what it is told in PREFLIGHT.
Result<peer::PreflightReply> ask_target(const Host& host, PeerConnector& peers, const std::string& target,
                                        const peer::Preflight& preflight) {
  const Deadline deadline = Clock::now() + host.step_timeout;
  TRY_ASSIGN(const auto channel, peers.connect(target, deadline));
  TRY_ASSIGN(const auto greeting, channel->call(hello_message(host, random_id()), deadline));
  if (greeting.has_failure()) return fail(greeting.failure().cause());
  TRY(check_hello_reply(greeting.hello(), target));
  peer::SourceMessage request;
  *request.mutable_preflight() = preflight;
  TRY_ASSIGN(const auto judged, channel->call(request, deadline));
  if (judged.has_failure()) return fail(judged.failure().cause());
  return judged.preflight();
}

void add_facts_here(const Host& host, const SourceFacts& facts, const peer::Preflight& here,
                    control::CheckReply& reply) {
  auto add_fact = [&](const char* subject, const std::string& text) {
    add(*reply.mutable_facts(), host.node, subject, text);
  };
  const auto lens = check_lens(host.lens, host.criu);
  add_fact("kernel", here.kernel());
  add_fact("criu", here.criu());
  add_fact("runc", here.runc());
  add_fact("memory", mebibytes(facts.memory_bytes) + " in use");
  add_fact("write tracking", SourceMemory::tracking_text(host.tracking));
  add_fact("lens", lens ? "CRIU leaves memory to godwit" : "memory goes with CRIU's images: " + lens.error().text());
  add_fact("processes", std::to_string(facts.processes.size()));
}

void add_facts_there(const std::string& target, const peer::PreflightReply& there, control::CheckReply& reply) {
  auto add_fact = [&](const char* subject, const std::string& text) {
    add(*reply.mutable_facts(), target, subject, text);
  };
  const std::string& missing = there.no_userfaultfd();
  add_fact("kernel", there.kernel());
  add_fact("criu", there.criu());
  add_fact("runc", there.runc());
  add_fact("memory", mebibytes(there.memory_available_bytes()) + " available");
  add_fact("bridge", there.bridge());
  add_fact("userfaultfd", missing.empty() ? "memory can follow the container"
                                          : "memory goes with CRIU's images, in mode cold: " + missing);
}

}  // namespace

control::CheckReply check_migration(const Host& host, PeerConnector& peers, const std::string& container,
                                    const std::string& target) {
  control::CheckReply reply;
  auto add_problem = [&](const std::string& where, const std::string& subject, const std::string& text) {
    add(*reply.mutable_problems(), where, subject, text);
  };
  const auto facts = collect_source_facts(host, container);
  if (!facts) {
    add_problem(host.node, "container", facts.error().text());
    return reply;
  }
  for (const peer::Problem& found : facts->problems) add_problem(host.node, found.subject(), found.text());
  if (target == host.node) {
    add_problem(host.node, "target", "the container is on " + host.node + " already");
    return reply;
  }
  const peer::Preflight here = preflight_message(host, *facts);
  const auto there = ask_target(host, peers, target, here);
  if (!there) {
    add_problem(target, "connection", there.error().text());
    return reply;
  }
  for (const peer::Problem& found : there->problems()) add_problem(target, found.subject(), found.text());
  add_facts_here(host, *facts, here, reply);
  add_facts_there(target, *there, reply);
  return reply;
}

}  // namespace godwit
