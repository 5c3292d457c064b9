// A pager in the place of one that was killed.
//
// What has happened is gone through again, as if no page had ever been installed. So a page is missing here that is in
// its place: then the kernel refuses it (EEXIST). The other way round would be wrong, and cannot be: what the log does
// not say, the processes wait with.
#include <algorithm>
#include <set>

#include "memory/pager.h"

namespace godwit {

Result<std::unique_ptr<Pager>> Pager::take_over(const Settings& settings, const PagerHistory& history,
                                                std::map<int, ScopedFd>& uffds) {
  std::unique_ptr<Pager> pager(new Pager(settings));
  TRY(pager->open_events());
  for (const auto& [space, maps] : history.maps) TRY(settings.store.apply_map(space, maps));
  settings.store.end_maps();
  std::lock_guard lock(pager->mutex_);
  pager->take_tables();
  for (const PagerStep& step : history.steps) TRY(pager->replay(step));
  if (!pager->expected_.empty()) return fail("a process had not passed its userfaultfd yet");
  TRY(pager->take_descriptors(uffds));
  return pager;
}

Result<> Pager::replay(const PagerStep& step) {
  using Kind = PagerStep::Kind;
  if (step.kind == Kind::kSpace) {
    auto found = expected_.find(step.to);
    if (found == expected_.end() || space_numbered(step.number)) return fail("the pager's log names a process twice");
    auto space = std::make_unique<Space>();
    space->number = step.number;
    space->id = step.to;
    space->table = std::move(found->second.table);
    space->missing = found->second.pages;
    expected_.erase(found);
    spaces_.push_back(std::move(space));
    return {};
  }
  Space* space = space_numbered(step.number);
  if (space == nullptr) return fail("the pager's log names a process that there is not");
  if (step.kind == Kind::kMove) move(*space, step.pages, step.place);
  if (step.kind == Kind::kRemove) drop(*space, step.pages);
  if (step.kind == Kind::kUnmap) unmap(*space, step.pages);
  if (step.kind == Kind::kFork) {
    const int child = static_cast<int>(step.to);
    if (child < 0 || space_numbered(child) != nullptr) return fail("the pager's log names a process twice");
    fork(*space, Userfaultfd(), child);
  }
  if (step.kind == Kind::kClose) {
    lose(*space);
    std::erase_if(spaces_, [space](const auto& entry) { return entry.get() == space; });
  }
  return {};
}

Pager::Space* Pager::space_numbered(int number) {
  const auto found = std::ranges::find(spaces_, number, [](const auto& space) { return space->number; });
  return found == spaces_.end() ? nullptr : found->get();
}

// All or none.
Result<> Pager::take_descriptors(std::map<int, ScopedFd>& uffds) {
  for (const auto& space : spaces_)
    if (!uffds.contains(space->number)) return fail("a userfaultfd of the container is lost");
  std::set<int> used;
  for (const auto& space : spaces_) {
    space->uffd = Userfaultfd(std::move(uffds.at(space->number)));
    uffds.erase(space->number);
    used.insert(space->number);
    watch(*space);
  }
  numbers_ = used.empty() ? 0 : *used.rbegin() + 1;
  for (int number = 0; number < numbers_; ++number)
    if (!used.contains(number)) free_numbers_.push_back(number);
  // Their processes lacked nothing any more, and their last word has not been heard.
  for (const auto& [number, uffd] : uffds)
    if (drop_) drop_(number);
  uffds.clear();
  return {};
}

// A fork's pages cannot be told from others of its parent's number here.
void Pager::settle_present(SpaceId id, const PageRanges& present) {
  std::lock_guard lock(mutex_);
  for (const auto& space : spaces_) {
    if (space->id != id || space->forked) continue;
    for (const PageRange& range : present) drop(*space, range);
  }
}

void Pager::begin_serving() {
  serve_thread_ = std::thread([this] { serve(); });
  std::lock_guard lock(mutex_);
  for (const auto& space : spaces_) space->uffd.wake_all();
}

}  // namespace godwit
