// The protocol between agents: this header is its specification. Messages are in api/peer.proto, the framing of data
// connections in wire/frame.h and wire/hello.h.
//
// A migration has one control connection (gRPC over mutually verified TLS 1.3, one bidirectional stream) and one or
// more data connections. The source speaks; the target answers each message once, in order:
//
//   source                                      target            target's state after its answer
//     | Hello{version, id}                ---->  |
//     |                    <---- HelloReply{token}|                 GREETED
//     | Preflight{container, config, …}   ---->  |
//     |             <---- PreflightReply{problems}|                 CHECKED (nothing has been changed)
//     | Prepare{network, streams, N}      ---->  |  namespace, bundle, pager, runc restore started and held
//     |                     <---- PrepareReply    |                 PREPARED
//     | = = data: preamble, TLS, Hello{id, token}>|  channel 0; if N > 0, also 1 to N+1; 63 for files and shared memory
//     | = = files: Content … = = = = = = = = = = >|  on 63, into tmpfs, memfds; FileTree …, ContentEnd after the freeze
//     | = = rounds: Pages …, Sync = = = = = = = = =>|  on 1 to N, into the page store
//     |   (freeze)                                |
//     | = = Frozen; MemoryMap …, MapsEnd = = = = >|  Frozen on 1 to N, the maps on 1
//     | = = owed: Pages …, PagesEnd = = = = = = =>|  on 1 to N, until the last one, whatever else happens
//     |   (dump; images travel on 0)              |
//     | SwitchOver{network, await_pages}  ---->  |  awaits map, files and images; CRIU restores, stops before
//     |                                           |  resume; with await_pages: until no page is owed
//     |                  <---- SwitchOverReply    |                 RESTORED (nothing runs)
//     | Commit{frames}                    ---->  |  only the target may run the container from here on
//     |                     <---- CommitReply     |                 RUNNING
//     | < = = PageRequest = = = = = = = = = = = = |  on N+1, from the restore on: what is waited for
//     | = = Pages = = = = = = = = = = = = = = = =>|  on N+1: the answers
//     | PagesLeft{frames}                 ---->  |  again and again, until done
//     |              <---- PagesLeftReply{owed, …}|                 RUNNING
//     | Finish{frames}                    ---->  |  only when no page is owed or waits to be installed
//     |                     <---- FinishReply     |                 end
//
// N = 0: memory comes with the images, there are no channels but 0, and the answer to PagesLeft is done.
//
// Abort may be sent instead of any message up to SwitchOver's successor; the target undoes everything and answers
// AbortReply. Failure may come instead of any answer: the target has undone everything, nothing of the container ran
// there and nothing will. A target that loses the control connection before Commit does the same. After Commit it goes
// on alone.
//
// A source that loses the connection before it sent Commit resumes its container. After that it does not: it asks,
// over new connections, for the Outcome, and keeps the copy frozen until the answer is RUNNING or ABORTED. LOST,
// UNKNOWN and no answer leave it frozen until a person decides. So does an agent of the source that was started again
// and finds a Commit in its journal. docs/design/commit.md has the states, what each side may do in them, and the
// argument.
//
// If a connection is lost while pages are owed, the container on the target waits for them and the source keeps its
// copy frozen. The source asks for the Outcome, over new connections; the answer holds what PagesLeft's would. Where
// that says `paused`, the source opens a new connection of channel N+1 with the same token, and the target asks on it
// for all that it still lacks, what the container waits for first. That may be memory that came in rounds, if its pager
// was killed. An agent of the source that was started again finds address, channel and token in the answer's `resume`.
//
// Any other message in any state is a protocol error: answered with Failure, the connection closed.
//
// Versions. Hello and HelloReply carry major.minor and never change their first two fields. Majors must be equal.
// Minors may differ: a side ignores fields it does not know and does not use what the other's minor does not have, so
// whatever a minor adds must be optional. What changes meaning, order or safety needs a new major.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace godwit::wire {

// Tests build an agent of another major.
#ifndef GODWIT_PROTOCOL_MAJOR
#define GODWIT_PROTOCOL_MAJOR 2
#endif
extern const uint32_t kProtocolMajor;  // GODWIT_PROTOCOL_MAJOR
inline constexpr uint32_t kProtocolMinor = 0;

// A control message holds a config.json (1 MiB), namespace state (some 100 kB) and held frames
// (network.hold_bytes_max, 64 MiB by default); nothing larger is accepted.
inline constexpr int kControlMessageBytesMax = 160 << 20;

// Of held frames in one message. A hold may be larger (network.hold_bytes_max): the rest follows in the next ones.
inline constexpr size_t kHeldBytesPerMessage = size_t{64} << 20;

// An error names both versions, for the user who has to update one of the agents.
Result<> check_version(uint32_t major, uint32_t minor, const std::string& software);

}  // namespace godwit::wire
