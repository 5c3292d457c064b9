// While a container is dumped, its connections to itself stand still: one end must not get, acknowledge or send
// anything between its own dump and that of the other. Their timers go on in a frozen container; a probe of a window,
// or data that is paced, would be acknowledged by an end whose queue has been read already, and lost.
//
// Nothing that is sent over lo arrives meanwhile: a queueing discipline drops it, and TCP sends it again afterwards.
// Links to elsewhere have the frame hold (frame_hold.h).
#pragma once

#include "base/result.h"
#include "kernel/rtnetlink.h"

namespace godwit::network {

// Root of lo while it is mute, by which it is told from disciplines of others; tc shows 60d:.
inline constexpr uint32_t kMuteHandle = 0x60d0000;

class LoopbackMute {
 public:
  // Of a network namespace. Changes nothing.
  static Result<LoopbackMute> prepare(int netns_fd);
  LoopbackMute(LoopbackMute&& other) noexcept;
  LoopbackMute& operator=(LoopbackMute&&) = delete;
  ~LoopbackMute();  // ends it

  // Some 0.1 ms. An error if lo has a discipline of its own already, which is kept.
  Result<> begin();
  Result<> end();

  // Of an agent that was killed. Fine if lo is not mute.
  static Result<> end_left(int netns_fd);

 private:
  explicit LoopbackMute(RouteSocket socket) : socket_(std::move(socket)) {}
  RouteSocket socket_;
  bool begun_ = false;
};

}  // namespace godwit::network
