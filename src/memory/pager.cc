#include "memory/pager.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/unix_socket.h"

namespace godwit {

namespace {

constexpr uint32_t kRestoreFinished = 0x52535446;  // CRIU's last word on lazy-pages.socket
// Of neighbours: what a fault brings with it. Costs a few microseconds more than one page.
constexpr uint64_t kFaultPages = 16;
// In one piece, while nobody else gets in: some 100 us.
constexpr uint64_t kBulkPages = 64;
// With what has come for it in the downtime a container is done by then. Of 100 clients on two processors, which were
// the other host's and the clients' as well, the one that waited longest did so 6 to 12 ms beyond the downtime in nine
// of ten moves, instead of 15 to 20.
constexpr std::chrono::milliseconds kContainerFirst{40};
// A container that has waited for so many pages by then works on more memory than that.
constexpr uint64_t kFaultsOfMuchWork = 64;
constexpr size_t kSpacesMax = 65536;  // forks included

bool wait_readable(int fd, int stop) {
  pollfd items[2] = {{fd, POLLIN, 0}, {stop, POLLIN, 0}};
  while (::poll(items, 2, -1) < 0)
    if (errno != EINTR) return false;
  return items[1].revents == 0;
}

// One int, and a descriptor if there is one with it.
Result<int> receive_int(int connection, int stop) {
  if (!wait_readable(connection, stop)) return fail(Error("stopped", ECANCELED));
  int value = 0;
  const ssize_t got = ::recv(connection, &value, sizeof value, MSG_WAITALL);
  if (got == 0) return fail(Error("CRIU has closed the connection", ECONNRESET));
  if (got != sizeof value) return fail("CRIU sent half a number");
  return value;
}

Result<ScopedFd> receive_descriptor(int connection, int stop) {
  if (!wait_readable(connection, stop)) return fail(Error("stopped", ECANCELED));
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != 1) return fail("CRIU passed no userfaultfd");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
    return fail("CRIU passed no userfaultfd");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return ScopedFd(fd);
}

bool names(const MoveLedger::Slots& slots, RemoteAddr page) {
  return std::ranges::any_of(slots, [page](const auto& entry) { return entry.first == page; });
}

// Calls WORK(address, slot) for each page of PAGES in TABLE that has a slot; regions that do not exist cost nothing.
template <typename Work>
void for_each_slot(SlotTable& table, const PageRange& pages, Work work) {
  auto& regions = table.regions();
  for (auto at = regions.lower_bound(pages.start.region().value); at != regions.end(); ++at) {
    const RemoteAddr region{at->first};
    if (region >= pages.end()) break;
    for (uint64_t i = 0; i < kRegionPages; ++i) {
      const RemoteAddr page = region + i * kPageBytes;
      Slot& slot = (*at->second)[i];
      if (slot != kNoSlot && pages.contains(page)) work(page, slot);
    }
  }
}

}  // namespace

Result<std::unique_ptr<Pager>> Pager::start(const Settings& settings, const std::filesystem::path& socket) {
  std::unique_ptr<Pager> pager(new Pager(settings));
  TRY_ASSIGN(pager->listener_, listen_unix(socket, SOCK_STREAM));
  TRY(pager->open_events());
  pager->criu_thread_ = std::thread([raw = pager.get()] { raw->serve_criu(); });
  pager->serve_thread_ = std::thread([raw = pager.get()] { raw->serve(); });
  return pager;
}

Result<> Pager::open_events() {
  stop_event_.reset(::eventfd(0, EFD_CLOEXEC));
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!stop_event_ || !wake_ || !epoll_) return fail_errno("pager");
  epoll_event event{.events = EPOLLIN, .data = {.fd = wake_.get()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return fail_errno("epoll_ctl");
  return {};
}

Pager::~Pager() { stop(); }

void Pager::stop() {
  stopping_ = true;
  ::eventfd_write(stop_event_.get(), 1);
  wake();
  if (criu_thread_.joinable()) criu_thread_.join();
  if (serve_thread_.joinable()) serve_thread_.join();
}

void Pager::wake() { ::eventfd_write(wake_.get(), 1); }

void Pager::begin() {
  std::lock_guard lock(mutex_);
  take_tables();
  if (log_ != nullptr)
    for (const auto& [id, mapped] : expected_) log_->map(id, mapped.regions);
}

void Pager::take_tables() {
  for (SpaceId id : store_.spaces()) {
    PageStore::Mapped& mapped = expected_[id] = store_.take(id);
    owed_[id] = std::move(mapped.owed);
  }
  begun_ = true;
}

// --- CRIU passes the userfaultfds -------------------------------------------------------------------------------

void Pager::serve_criu() {
  auto serve = [this]() -> Result<> {
    if (!wait_readable(listener_.get(), stop_event_.get())) return {};
    const ScopedFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) return fail_errno("accept");
    for (;;) {
      TRY_ASSIGN(const bool more, take_task(connection.get()));
      if (!more) return {};
    }
  };
  auto served = serve();
  if (served || stopping_) return;
  std::lock_guard lock(mutex_);
  failure_ = std::move(served.error()).during("lazy-pages.socket");
  changed_.notify_all();
}

// A pid and its userfaultfd. False: CRIU is done.
Result<bool> Pager::take_task(int connection) {
  TRY_ASSIGN(const int pid, receive_int(connection, stop_event_.get()));
  if (static_cast<uint32_t>(pid) == kRestoreFinished) return false;
  if (pid < 0) return true;  // a zombie, without memory
  TRY_ASSIGN(ScopedFd uffd, receive_descriptor(connection, stop_event_.get()));
  TRY(add_space(static_cast<SpaceId>(pid), Userfaultfd(std::move(uffd))));
  return true;
}

Result<> Pager::add_space(SpaceId id, Userfaultfd uffd) {
  std::lock_guard lock(mutex_);
  auto found = expected_.find(id);
  if (found == expected_.end())
    return fail("CRIU restores process " + std::to_string(id) + ", of which nothing is known");
  auto space = std::make_unique<Space>();
  space->id = id;
  space->uffd = std::move(uffd);
  space->table = std::move(found->second.table);
  space->missing = found->second.pages;
  expected_.erase(found);
  space->number = hold_as_new(space->uffd.fd());
  write_down({.kind = PagerStep::Kind::kSpace, .number = space->number, .to = id, .pages = {}, .place = {}});
  watch(*space);
  spaces_.push_back(std::move(space));
  changed_.notify_all();
  return {};
}

// From the first moment on: serving comes after.
int Pager::hold_as_new(int uffd) {
  int number = numbers_;
  if (free_numbers_.empty()) {
    ++numbers_;
  } else {
    number = free_numbers_.back();
    free_numbers_.pop_back();
  }
  if (hold_) hold_(number, uffd);
  return number;
}

void Pager::write_down(const PagerStep& step) {
  if (log_ != nullptr) log_->step(step);
}

void Pager::watch(Space& space) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = space.uffd.fd()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, space.uffd.fd(), &event) != 0)
    log::error("pager: epoll_ctl: {}", std::strerror(errno));
}

Result<> Pager::await_spaces(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return (begun_ && expected_.empty()) || failure_; });
  if (failure_) return std::unexpected(*failure_);
  if (!expected_.empty())
    return fail("CRIU has not said how to give memory to process " + std::to_string(expected_.begin()->first));
  return {};
}

// --- The thread that serves -------------------------------------------------------------------------------------

void Pager::serve() {
  constexpr int kSoon = 1;  // ms: a process that changes its mappings is not at its end before it runs again
  epoll_event events[16];
  int timeout = -1;
  while (!stopping_) {
    const int count = ::epoll_wait(epoll_.get(), events, 16, timeout);
    if (count > 0) ++events_wait_;
    std::lock_guard lock(mutex_);
    if (count > 0) --events_wait_;
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_.get()) {
        eventfd_t value = 0;
        ::eventfd_read(wake_.get(), &value);
      } else if (Space* space = space_of(fd)) {
        read_events(*space);
      }
    }
    blocked_ = false;
    retry_waiting();
    if (count <= 0 && work_to_fill() && ms_until_fill() == 0) fill();
    for (const auto& space : spaces_) release(*space, space->moves.take_forgotten(Clock::now()));
    remove_spaces([](const Space& space) { return space.gone; });
    finish_if_complete();
    timeout = -1;
    if (work_to_fill()) timeout = ms_until_fill();
    if (blocked_) timeout = kSoon;
  }
}

// Their userfaultfds are closed.
template <typename Which>
void Pager::remove_spaces(Which which) {
  std::erase_if(spaces_, [&](const auto& space) {
    if (!which(*space)) return false;
    write_down({.kind = PagerStep::Kind::kClose, .number = space->number, .to = 0, .pages = {}, .place = {}});
    if (drop_) drop_(space->number);
    free_numbers_.push_back(space->number);
    return true;
  });
}

Pager::Space* Pager::space_of(int fd) {
  for (const auto& space : spaces_)
    if (space->uffd.fd() == fd && !space->gone) return space.get();
  return nullptr;
}

void Pager::read_events(Space& space) {
  std::vector<UserfaultEvent> events;
  void* buffer = log_ == nullptr ? nullptr : log_->begin_reading(space.number);
  auto read = buffer == nullptr ? space.uffd.read_events(events) : space.uffd.read_events(events, buffer);
  const std::vector<int> children = write_down(space, events);
  if (!read) {
    log::error("pager: {}", read.error().text());
    return lose(space);
  }
  for (size_t i = 0; i < events.size(); ++i)
    if (!space.gone) handle(space, events[i], children[i]);
}

// The numbers of children, by event.
std::vector<int> Pager::write_down(const Space& space, const std::vector<UserfaultEvent>& events) {
  std::vector<int> children(events.size(), -1);
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].kind == UserfaultEvent::Kind::kFault) continue;
    PagerStep step = step_of(space.number, events[i]);
    if (step.kind == PagerStep::Kind::kFork) {
      children[i] = hold_as_new(events[i].child.get());
      step.to = static_cast<uint32_t>(children[i]);
    }
    write_down(step);
    if (log_ != nullptr) log_->have_written(i + 1);
  }
  if (log_ != nullptr) log_->end_reading();
  return children;
}

void Pager::handle(Space& space, UserfaultEvent& event, int child) {
  switch (event.kind) {
    case UserfaultEvent::Kind::kFault:
      return fault(space, event.range.start);
    case UserfaultEvent::Kind::kFork:
      return fork(space, Userfaultfd(std::move(event.child)), child);
    case UserfaultEvent::Kind::kRemap:
      return move(space, event.range, event.to);
    case UserfaultEvent::Kind::kRemove:
      return drop(space, event.range);
    case UserfaultEvent::Kind::kUnmap:
      return unmap(space, event.range);
  }
}

void Pager::fault(Space& space, RemoteAddr page) {
  ++faults_;
  space.fill_from = page.region().value;
  space.retry.try_emplace(page.value, Clock::now());  // retry_waiting comes next
  const Slot slot = space.table.get(page);
  if (slot == kNoSlot || !arena_.is_owed(slot)) return;
  ++faults_owed_;
  request_around(space, page);
}

// Faults whose page can be given now.
void Pager::retry_waiting() {
  for (const auto& space : spaces_) {
    for (auto at = space->retry.begin(); at != space->retry.end() && !space->gone;) {
      const RemoteAddr page{at->first};
      const Slot slot = space->table.get(page);
      bool served = false;
      if (slot == kNoSlot) {
        served = zero(*space, page);
      } else if (!arena_.is_owed(slot)) {
        const PageRange run = run_around(*space, page, kFaultPages);
        served = install(*space, run, arena_.contents(space->table.get(run.start)));
      }
      if (served) {
        latencies_.add(ms_between(at->second, Clock::now()) * 1000);
        at = space->retry.erase(at);
      } else {
        ++at;
      }
    }
  }
}

// The page and those next to it, as far as their contents lie next to its.
PageRange Pager::run_around(const Space& space, RemoteAddr page, uint64_t pages_max) const {
  const SlotTable::Region& region = *space.table.find(page);
  const uint64_t at = page_in_region(page);
  auto follows = [&](uint64_t i) {  // whether page i's contents follow those of the page before
    return region[i] != kNoSlot && region[i - 1] != kNoSlot && region[i] == region[i - 1] + 1 &&
           !arena_.is_owed(region[i]) && !arena_.is_owed(region[i - 1]);
  };
  uint64_t first = at, end = at + 1;
  while (end < kRegionPages && end - first < pages_max && follows(end)) ++end;
  while (first > 0 && end - first < pages_max && follows(first)) --first;
  return {page.region() + first * kPageBytes, end - first};
}

// The container waits for this one, and will probably want its neighbours.
void Pager::request_around(Space& space, RemoteAddr page) {
  const SlotTable::Region& region = *space.table.find(page);
  const uint64_t at = page_in_region(page);
  const uint64_t block = at - at % kFaultPages;
  auto wanted = [&](uint64_t i) {
    return i >= block && i < block + kFaultPages && region[i] != kNoSlot && arena_.is_owed(region[i]) &&
           !requested_.contains(region[i]) && !moved_.contains(region[i]);
  };
  const Slot slot = region[at];
  if (requested_.contains(slot)) return;
  if (auto from = moved_.find(slot); from != moved_.end()) {
    requested_.insert(slot);
    return request_(from->second.first, {from->second.second, 1});
  }
  uint64_t first = at, end = at + 1;
  while (wanted(end)) ++end;
  while (first > 0 && wanted(first - 1)) --first;
  for (uint64_t i = first; i < end; ++i) requested_.insert(region[i]);
  request_(space.id, {page.region() + first * kPageBytes, end - first});
}

void Pager::fork(Space& parent, Userfaultfd uffd, int number) {
  if (spaces_.size() >= kSpacesMax) log::error("pager: more processes than can be served");
  auto child = std::make_unique<Space>();
  child->number = number;
  child->id = parent.id;
  child->forked = true;
  child->missing = parent.missing;
  child->uffd = std::move(uffd);
  for (const auto& [start, region] : parent.table.regions()) {
    child->table.region({start}) = *region;
    for (Slot slot : *region)
      if (slot != kNoSlot) arena_.refer(slot);
  }
  if (child->uffd.fd() >= 0) watch(*child);
  spaces_.push_back(std::move(child));
}

void Pager::move(Space& space, const PageRange& from, RemoteAddr to) {
  MoveLedger::Slots pages = space.moves.take_displaced(from);
  for_each_slot(space.table, from, [&](RemoteAddr page, Slot& slot) {
    if (space.moves.came_later(page, from) || names(pages, page)) return;
    pages.emplace_back(page, slot);
    slot = kNoSlot;
  });
  space.moves.moved(from, to);
  for (auto [page, slot] : pages) {
    const RemoteAddr target = to + (page - from.start);
    Slot& there = space.table.region(target)[page_in_region(target)];
    if (there != kNoSlot) space.moves.displace(target, there);
    there = slot;
    if (arena_.is_owed(slot)) moved_.try_emplace(slot, space.id, page);
  }
  space.uffd.wake(from);
}

void Pager::unmap(Space& space, const PageRange& pages) {
  if (space.moves.ends_move(pages)) return;
  const MoveLedger::Slots displaced = space.moves.take_displaced(pages);
  release(space, displaced);
  for_each_slot(space.table, pages, [&](RemoteAddr page, Slot& slot) {
    if (space.moves.came_later(page, pages) || names(displaced, page)) return;
    release(space, {{page, slot}});
    slot = kNoSlot;
  });
}

void Pager::drop(Space& space, const PageRange& pages) {
  for_each_slot(space.table, pages, [&](RemoteAddr page, Slot& slot) {
    release(space, {{page, slot}});
    slot = kNoSlot;
  });
}

void Pager::release(Space& space, const MoveLedger::Slots& slots) {
  for (const auto& [page, slot] : slots) {
    arena_.release(slot);
    --space.missing;
  }
}

// --- Installing ---------------------------------------------------------------------------------------------------

// They are in their place, or have none.
void Pager::settle(Space& space, const PageRange& pages) {
  for (RemoteAddr page = pages.start; page < pages.end(); page = page + kPageBytes) {
    Slot& slot = space.table.region(page)[page_in_region(page)];
    if (slot == kNoSlot) continue;
    arena_.release(slot);
    slot = kNoSlot;
    --space.missing;
  }
}

// A range may lie in several mappings, which one call cannot fill: smaller pieces then.
bool Pager::install(Space& space, PageRange pages, const std::byte* contents) {
  uint64_t piece = pages.pages;
  while (pages.pages > 0) {
    piece = std::min(piece, pages.pages);
    auto copied = space.uffd.copy({pages.start, piece}, contents);
    if (!copied) {
      log::error("pager: {}", copied.error().text());
      blocked_ = true;
      return false;
    }
    uint64_t done = copied->pages;
    switch (copied->outcome) {
      case Userfaultfd::Outcome::kDone:
        break;
      case Userfaultfd::Outcome::kExists:
        space.uffd.wake({pages.start + done * kPageBytes, 1});
        ++done;
        break;
      case Userfaultfd::Outcome::kChanging:
        settle(space, {pages.start, done});
        blocked_ = true;
        return false;
      case Userfaultfd::Outcome::kNoRange:
        if (done == 0 && piece > 1) {
          piece = piece / 2;
          continue;
        }
        if (!filling_) {
          settle(space, {pages.start, done});
          blocked_ = true;
          return false;
        }
        if (done == 0) {
          ++refused_;
          ++done;
        }
        break;
      case Userfaultfd::Outcome::kGone:
        lose(space);
        return true;
    }
    settle(space, {pages.start, done});
    contents += done * kPageBytes;
    pages = {pages.start + done * kPageBytes, pages.pages - done};
  }
  return true;
}

bool Pager::zero(Space& space, RemoteAddr page) {
  auto zeroed = space.uffd.zero({page, 1});
  if (!zeroed) {
    log::error("pager: {}", zeroed.error().text());
    return true;
  }
  if (zeroed->outcome == Userfaultfd::Outcome::kGone) lose(space);
  // Not mapped any more: whoever waits finds out by itself.
  if (zeroed->outcome == Userfaultfd::Outcome::kExists || zeroed->outcome == Userfaultfd::Outcome::kNoRange)
    space.uffd.wake({page, 1});
  blocked_ = blocked_ || zeroed->outcome == Userfaultfd::Outcome::kChanging;
  return zeroed->outcome != Userfaultfd::Outcome::kChanging;
}

void Pager::lose(Space& space) {
  for (const auto& [start, region] : space.table.regions())
    for (Slot slot : *region)
      if (slot != kNoSlot) arena_.release(slot);
  release(space, space.moves.take_forgotten(Clock::time_point::max()));
  space.table = {};
  space.missing = 0;
  space.gone = true;  // taken off the list by the serving thread
  wake();
}

bool Pager::work_to_fill() const { return filling_ && arena_.slots_in_use() > arena_.owed_slots(); }

// One piece, of the process whose turn it is.
void Pager::fill() {
  for (const auto& space : spaces_) {
    auto& regions = space->table.regions();
    if (regions.empty() || space->gone) continue;
    auto at = regions.lower_bound(space->fill_from);
    if (at == regions.end()) at = regions.begin();
    if (fill_region(*space, {at->first}, *at->second) || space->gone) return;
    space->fill_from = at->first + kRegionBytes;
    if (std::ranges::all_of(*at->second, [](Slot slot) { return slot == kNoSlot; })) regions.erase(at);
    return;
  }
}

// False: there is nothing in it that could be installed.
bool Pager::fill_region(Space& space, RemoteAddr start, SlotTable::Region& region) {
  for (uint64_t i = 0; i < kRegionPages; ++i) {
    if (region[i] == kNoSlot || arena_.is_owed(region[i])) continue;
    uint64_t end = i + 1;
    while (end < kRegionPages && end - i < kBulkPages && region[end] == region[end - 1] + 1 &&
           !arena_.is_owed(region[end]))
      ++end;
    (void)install(space, {start + i * kPageBytes, end - i}, arena_.contents(region[i]));
    return true;
  }
  return false;
}

void Pager::begin_fill() {
  {
    std::lock_guard lock(mutex_);
    filling_ = true;
    fills_from_ = Clock::now() + kContainerFirst;
  }
  wake();
}

int Pager::ms_until_fill() const {
  if (faults_ >= kFaultsOfMuchWork) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(fills_from_ - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(left, 0));
}

// A userfaultfd may be closed when nothing is missing any more: then nothing reads as zero that is not.
void Pager::finish_if_complete() {
  if (!filling_ || complete_ || !expected_.empty()) return;
  remove_spaces([](const Space& space) { return space.missing == 0; });
  if (!spaces_.empty()) return;
  complete_ = true;
  spaces_.clear();
  changed_.notify_all();
}

// --- Owed pages -----------------------------------------------------------------------------------------------------

Result<> Pager::deliver(SpaceId space, const PageRange& pages, std::span<const std::byte> contents) {
  if (page_in_region(pages.start) + pages.pages > kRegionPages || contents.size() < pages.bytes())
    return fail("pages that do not lie in one region");
  for (uint64_t done = 0; done < pages.pages; done += kBulkPages) {
    while (events_wait_ > 0) std::this_thread::yield();
    const PageRange part{pages.start + done * kPageBytes, std::min(kBulkPages, pages.pages - done)};
    TRY(deliver_part(space, part, contents.data() + done * kPageBytes));
  }
  return {};
}

Result<> Pager::deliver_part(SpaceId id, const PageRange& pages, const std::byte* contents) {
  std::lock_guard lock(mutex_);
  auto origin = owed_.find(id);
  if (origin == owed_.end()) return fail("pages of a process that has none");
  for (const auto& space : spaces_)
    if (space->id == id && !space->gone) {
      if (deliver_into(*space, pages, origin->second, contents)) break;
    }
  // What could not go straight to its place waits for it.
  bool stored = false;
  for (uint64_t i = 0; i < pages.pages; ++i) {
    const Slot slot = origin->second.get(pages.start + i * kPageBytes);
    if (slot == kNoSlot || !arena_.is_owed(slot)) continue;
    std::memcpy(arena_.contents(slot), contents + i * kPageBytes, kPageBytes);
    arena_.set_owed(slot, false);
    requested_.erase(slot);
    moved_.erase(slot);
    stored = true;
  }
  if (stored) retry_waiting();
  finish_if_complete();
  if (stored && filling_) wake();
  changed_.notify_all();
  return {};
}

// Pages that are where they were on the source, and nobody else's.
bool Pager::deliver_into(Space& space, const PageRange& pages, const SlotTable& origin, const std::byte* contents) {
  bool any = false;
  for (uint64_t i = 0; i < pages.pages;) {
    auto straight = [&](uint64_t page) {
      const RemoteAddr at = pages.start + page * kPageBytes;
      const Slot slot = origin.get(at);
      return slot != kNoSlot && arena_.is_owed(slot) && space.table.get(at) == slot && !arena_.is_shared(slot);
    };
    uint64_t end = i;
    while (end < pages.pages && straight(end)) ++end;
    if (end == i) {
      ++i;
      continue;
    }
    any = true;
    const PageRange run{pages.start + i * kPageBytes, end - i};
    for (RemoteAddr page = run.start; page < run.end(); page = page + kPageBytes) requested_.erase(origin.get(page));
    if (!install(space, run, contents + i * kPageBytes)) return any;
    for (RemoteAddr page = run.start; page < run.end(); page = page + kPageBytes) {
      auto waited = space.retry.find(page.value);
      if (waited == space.retry.end()) continue;
      latencies_.add(ms_between(waited->second, Clock::now()) * 1000);
      space.retry.erase(waited);
    }
    i = end;
  }
  return any;
}

std::vector<std::pair<SpaceId, PageRange>> Pager::owed_pages() {
  std::lock_guard lock(mutex_);
  std::vector<std::pair<SpaceId, PageRange>> pages;
  requested_.clear();
  for (const auto& space : spaces_)
    for (const auto& [address, since] : space->retry) {
      const Slot slot = space->table.get({address});
      if (slot == kNoSlot || !arena_.is_owed(slot)) continue;
      auto moved = moved_.find(slot);
      pages.push_back(moved == moved_.end() ? std::pair(space->id, PageRange{{address}, 1})
                                            : std::pair(moved->second.first, PageRange{moved->second.second, 1}));
    }
  for (const auto& [id, table] : owed_)
    for (const auto& [start, region] : table.regions())
      for (uint64_t i = 0; i < kRegionPages; ++i) {
        if ((*region)[i] == kNoSlot || !arena_.is_owed((*region)[i])) continue;
        const RemoteAddr page = RemoteAddr{start} + i * kPageBytes;
        const bool joins = !pages.empty() && pages.back().first == id && pages.back().second.end() == page && i > 0;
        if (joins) {
          ++pages.back().second.pages;
        } else {
          pages.emplace_back(id, PageRange{page, 1});
        }
      }
  return pages;
}

bool Pager::await_all_here(Deadline deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return arena_.owed_slots() == 0; });
}

bool Pager::await_complete(Deadline deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return complete_; });
}

Pager::Figures Pager::figures() const {
  std::lock_guard lock(mutex_);
  Figures figures;
  figures.pages_owed_left = arena_.owed_slots();
  figures.pages_stored_left = arena_.slots_in_use() - figures.pages_owed_left;
  figures.faults = faults_;
  figures.faults_owed = faults_owed_;
  figures.fault_p50_us = latencies_.percentile(0.5);
  figures.fault_p99_us = latencies_.percentile(0.99);
  figures.fault_max_us = latencies_.max();
  figures.pages_refused = refused_;
  return figures;
}

}  // namespace godwit
