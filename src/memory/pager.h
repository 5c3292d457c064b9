// Gives the processes of a restored container their memory: pages they touch first, then the neighbours of those, then
// all others.
//
// CRIU, restoring with lazy pages, leaves private anonymous memory empty, registered with a userfaultfd for each
// process, and passes these here. From then on a thread that touches a missing page waits until it is installed. The
// container forks, maps, unmaps and ends meanwhile; the kernel tells, and what is said about a process is true of the
// moment it is read, because what changes mappings waits for that.
//
// A userfaultfd is never closed while its process misses a page: the page would read as zeros.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/userfaultfd.h"
#include "memory/latencies.h"
#include "memory/move_ledger.h"
#include "memory/page_store.h"
#include "memory/pager_log.h"

namespace godwit {

class Pager {
 public:
  struct Settings {
    PageStore& store;  // outlives the pager
    // The container waits for pages that are owed; must not block. Called with the pager locked.
    std::function<void(SpaceId, const PageRange&)> request;
    // Somebody else holds the userfaultfds as well, by number, in case this process dies. May be null.
    std::function<void(int number, int uffd)> hold = nullptr;
    std::function<void(int number)> drop = nullptr;
    PagerLog* log = nullptr;  // outlives the pager; for whoever takes over. May be null.
  };
  // Listens at SOCKET, lazy-pages.socket in CRIU's work directory.
  static Result<std::unique_ptr<Pager>> start(const Settings& settings, const std::filesystem::path& socket);
  // In the place of one that was killed, whose HISTORY is in SETTINGS.log. UFFDS are those that somebody held, by
  // number; the processes stand still, or wait. All pages count as owed, and nothing is served yet. An error: what the
  // processes lack is not known; UFFDS are as before.
  static Result<std::unique_ptr<Pager>> take_over(const Settings& settings, const PagerHistory& history,
                                                  std::map<int, ScopedFd>& uffds);
  // Then: the process that was ID on the source has these, says the kernel.
  void settle_present(SpaceId id, const PageRanges& present);
  // From here on it serves, and who was waiting is heard again.
  void begin_serving();
  ~Pager();  // stops
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  // The store has its maps: before CRIU is told to restore.
  void begin();
  // Waits until CRIU has passed a userfaultfd for every process that has a map.
  Result<> await_spaces(Deadline deadline);
  // Everything is registered and may be installed, not only what the container waits for. For a moment the processors
  // are the container's, which has its clients to answer; not if it touches so much memory that the fill helps it.
  void begin_fill();

  // PAGES of SPACE, all of one region, have come; those that are not owed (any more) are ignored.
  Result<> deliver(SpaceId space, const PageRange& pages, std::span<const std::byte> contents);

  // All that is owed, by the source's addresses, in ranges within regions; what the container waits for comes first.
  // They count as not yet requested.
  std::vector<std::pair<SpaceId, PageRange>> owed_pages();

  // Whether no page is owed any more; false at DEADLINE.
  bool await_all_here(Deadline deadline);
  // Whether all pages are in their places and the userfaultfds closed.
  bool await_complete(Deadline deadline);

  struct Figures {
    uint64_t pages_owed_left = 0;
    uint64_t pages_stored_left = 0;
    uint64_t faults = 0;
    uint64_t faults_owed = 0;  // of those: for pages that had not come yet
    double fault_p50_us = 0;   // from the kernel's word to the page in its place
    double fault_p99_us = 0;
    double fault_max_us = 0;
    uint64_t pages_refused = 0;  // had content but no mapping to go to: should not happen
  };
  Figures figures() const;
  void stop();

 private:
  struct Space {
    int number = 0;
    SpaceId id;  // the one on the source: a fork's is its parent's
    bool forked = false;
    Userfaultfd uffd;
    SlotTable table;
    std::map<uint64_t, Clock::time_point> retry;  // faults not served yet, by address
    uint64_t missing = 0;                         // slots in the table
    uint64_t fill_from = 0;                       // region address
    MoveLedger moves;
    bool gone = false;
  };

  explicit Pager(const Settings& settings)
      : store_(settings.store),
        arena_(store_.arena()),
        request_(settings.request),
        hold_(settings.hold),
        drop_(settings.drop),
        log_(settings.log) {}
  Result<> open_events();
  void take_tables();

  // The connection of CRIU.
  void serve_criu();
  Result<bool> take_task(int connection);
  Result<> add_space(SpaceId id, Userfaultfd uffd);

  // The thread that serves.
  void serve();
  void read_events(Space& space);
  std::vector<int> write_down(const Space& space, const std::vector<UserfaultEvent>& events);
  void handle(Space& space, UserfaultEvent& event, int child);
  void fault(Space& space, RemoteAddr page);
  void request_around(Space& space, RemoteAddr page);
  void fork(Space& parent, Userfaultfd uffd, int number);
  void move(Space& space, const PageRange& from, RemoteAddr to);
  void unmap(Space& space, const PageRange& pages);
  void drop(Space& space, const PageRange& pages);
  void release(Space& space, const MoveLedger::Slots& slots);
  void fill();
  bool fill_region(Space& space, RemoteAddr start, SlotTable::Region& region);
  int hold_as_new(int uffd);
  void write_down(const PagerStep& step);
  void watch(Space& space);
  Result<> replay(const PagerStep& step);
  Result<> take_descriptors(std::map<int, ScopedFd>& uffds);
  Space* space_numbered(int number);
  template <typename Which>
  void remove_spaces(Which which);

  // Installs PAGES, whose slots are consecutive; afterwards they are no concern any more. False: events come first.
  bool install(Space& space, PageRange pages, const std::byte* contents);
  bool zero(Space& space, RemoteAddr page);
  void settle(Space& space, const PageRange& pages);
  Result<> deliver_part(SpaceId space, const PageRange& pages, const std::byte* contents);
  bool deliver_into(Space& space, const PageRange& pages, const SlotTable& origin, const std::byte* contents);
  PageRange run_around(const Space& space, RemoteAddr page, uint64_t pages_max) const;
  void lose(Space& space);
  void retry_waiting();
  void finish_if_complete();
  bool work_to_fill() const;
  int ms_until_fill() const;
  void wake();
  Space* space_of(int fd);

  PageStore& store_;
  SlotArena& arena_;
  const std::function<void(SpaceId, const PageRange&)> request_;
  const std::function<void(int, int)> hold_;
  const std::function<void(int)> drop_;
  PagerLog* const log_;
  ScopedFd listener_;
  ScopedFd stop_event_;
  ScopedFd epoll_;
  ScopedFd wake_;

  mutable std::mutex mutex_;
  std::atomic<int> events_wait_ = 0;  // for the lock: bulk work lets them in
  std::condition_variable changed_;
  std::map<SpaceId, SlotTable> owed_;  // where owed pages of the source's addresses are to go
  std::list<std::unique_ptr<Space>> spaces_;
  int numbers_ = 0;                                       // given out so far,
  std::vector<int> free_numbers_;                         // and of those free again
  std::map<SpaceId, PageStore::Mapped> expected_;         // of processes CRIU has not passed yet
  std::map<Slot, std::pair<SpaceId, RemoteAddr>> moved_;  // owed pages that are elsewhere than on the source
  std::set<Slot> requested_;
  bool blocked_ = false;  // something could not be installed just now
  bool begun_ = false;
  bool filling_ = false;
  Clock::time_point fills_from_;
  bool complete_ = false;
  std::optional<Error> failure_;
  Latencies latencies_;
  uint64_t faults_ = 0;
  uint64_t faults_owed_ = 0;
  uint64_t refused_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread criu_thread_;
  std::thread serve_thread_;
};

}  // namespace godwit
