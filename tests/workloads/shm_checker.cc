// Checks memory that is not private and anonymous: --processes processes share areas of --bytes each, and every one
// writes the checked pages (checked_page.h) that are its own in each of them, a --rate of bytes per second each. The
// areas:
//   tmpfs-map    a file in /dev/shm, mapped          tmpfs-write  a file in /dev/shm, written with pwrite(2)
//   sysv         SysV shared memory                  anonymous    shared anonymous memory
//   memfd        a memfd, mapped                     memfd-write  a memfd, written with pwrite(2)
//   passing      a memfd, of which each page is mapped, written and unmapped, some as a second mapping of another
//   forked       shared anonymous memory, which children that end at once write
//   sealed       a memfd that nobody can write       in-flight    the same, in a message between sockets
//   deleted      a file in /dev/shm, mapped and unlinked
//   file         a private mapping of the program    locked       private anonymous memory, mlocked
//   huge         private huge pages, if there are any
// In the private ones every process has pages of its own where it writes.
//
// A client on --port sends
//   verify   all processes stop between two writes; each checks its pages everywhere, and then that what one writes
//   into
//            shared areas is what the others read:
//            {"ok": true, "areas": "…", "writes": …} or {"ok": false, …, "why": "…"}
// Standard output: "ready".
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <mutex>
#include <string>
#include <vector>

#include "checked_page.h"
#include "flags.h"
#include "line_server.h"
#include "timeline.h"

namespace godwit::workloads {
namespace {

// CRIU carries a deleted file up to 1 MiB unless told otherwise.
constexpr uint64_t kDeletedPagesMax = 256;
// Of areas whose pages take a fork or a mapping each to write.
constexpr uint64_t kFewPages = 64;
constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

[[noreturn]] void die(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

// A descriptor of what is in flight to SOCKET, where it stays.
int peek(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  int fd = -1;
  if (recvmsg(socket, &message, MSG_PEEK | MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message) != nullptr)
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

struct Area {
  std::string name;
  CheckedPage* pages = nullptr;  // nullptr: by pread and pwrite
  int fd = -1;
  bool shared = true;
  uint64_t count = 0;
  enum class Way { kItself, kPassing, kForked } way = Way::kItself;
  int queue = -1;      // where the memfd is in flight
  bool fixed = false;  // never written again

  void write(uint64_t page, uint64_t count_of_page) {
    if (way == Way::kPassing) return write_passing(page, count_of_page);
    if (way == Way::kForked) {
      const pid_t child = fork();
      if (child == 0) {
        write_page(pages[page], page, count_of_page);
        _exit(0);
      }
      if (child < 0 || waitpid(child, nullptr, 0) != child) die("fork");
      return;
    }
    CheckedPage local;
    write_page(pages ? pages[page] : local, page, count_of_page);
    if (!pages && pwrite(fd, &local, kPageBytes, static_cast<off_t>(page * kPageBytes)) != ssize_t{kPageBytes})
      die("pwrite");
  }
  // Through a mapping that is there for this write alone.
  void write_passing(uint64_t page, uint64_t count_of_page) {
    const auto offset = static_cast<off_t>(page * kPageBytes);
    void* at = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    if (at != MAP_FAILED && page % 2 == 1) {
      void* second = mremap(at, 0, kPageBytes, MREMAP_MAYMOVE);
      munmap(at, kPageBytes);
      at = second;
    }
    if (at == MAP_FAILED) die("mmap");
    write_page(*static_cast<CheckedPage*>(at), page, count_of_page);
    munmap(at, kPageBytes);
  }
  CheckedPage read(uint64_t page) const {
    if (pages) return pages[page];
    CheckedPage local;
    const int flight = queue >= 0 ? peek(queue) : -1;
    if (queue >= 0) {
      if (flight < 0 || pread(flight, &local, kPageBytes, static_cast<off_t>(page * kPageBytes)) != ssize_t{kPageBytes})
        local = {};
      close(flight);
      return local;
    }
    if (pread(fd, &local, kPageBytes, static_cast<off_t>(page * kPageBytes)) != ssize_t{kPageBytes}) local = {};
    return local;
  }
};

int as_message(int fd) {
  int ends[2];
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 || sendmsg(ends[0], &message, 0) != 1)
    die("sendmsg");
  close(fd);
  return ends[1];
}

class Areas {
 public:
  explicit Areas(size_t bytes) : bytes_(bytes) {
    map("tmpfs-map", file("/dev/shm/checker-map", false), MAP_SHARED);
    areas_.push_back({"tmpfs-write", nullptr, file("/dev/shm/checker-write", false), true, pages()});
    sysv();
    map("anonymous", -1, MAP_SHARED | MAP_ANONYMOUS);
    map("memfd", memory_file(), MAP_SHARED);
    areas_.push_back({"memfd-write", nullptr, memory_file(), true, pages()});
    areas_.push_back({"passing", nullptr, memory_file(), true, std::min(pages(), kFewPages), Area::Way::kPassing});
    map("forked", -1, MAP_SHARED | MAP_ANONYMOUS);
    areas_.back().way = Area::Way::kForked;
    areas_.back().count = std::min(pages(), kFewPages);
    areas_.push_back({"sealed", nullptr, memory_file(), true, pages()});
    areas_.push_back({"in-flight", nullptr, memory_file(), true, pages()});
    map("deleted", file("/dev/shm/checker-deleted", true), MAP_SHARED);
    areas_.back().count = std::min(pages(), kDeletedPagesMax);
    program();
    locked();
    huge();
    for (Area& area : areas_) {
      for (uint64_t page = 0; page < area.count; ++page) area.write(page, 1);
      if (area.name == "sealed" || area.name == "in-flight") {
        if (fcntl(area.fd, F_ADD_SEALS, kSeals) != 0) die("F_ADD_SEALS");
        area.fixed = true;
      }
      if (area.name == "in-flight") area.queue = as_message(area.fd);
    }
  }

  std::vector<Area>& all() { return areas_; }
  std::string names() const {
    std::string text;
    for (const Area& area : areas_) text += (text.empty() ? "" : " ") + area.name;
    return text;
  }

 private:
  uint64_t pages() const { return bytes_ / kPageBytes; }

  int file(const char* path, bool remove) const {
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const size_t bytes = remove ? std::min(bytes_, kDeletedPagesMax * kPageBytes) : bytes_;
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) die(path);
    if (remove) unlink(path);
    return fd;
  }
  int memory_file() const {
    const int fd = memfd_create("checker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes_)) != 0) die("memfd_create");
    return fd;
  }
  CheckedPage* map(const std::string& name, int fd, int flags) {
    void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at == MAP_FAILED) die("mmap " + name);
    areas_.push_back({name, static_cast<CheckedPage*>(at), fd, (flags & MAP_SHARED) != 0, pages()});
    return areas_.back().pages;
  }
  void sysv() {
    const int id = shmget(IPC_PRIVATE, bytes_, IPC_CREAT | 0600);
    void* at = id < 0 ? nullptr : shmat(id, nullptr, 0);
    if (id < 0 || at == reinterpret_cast<void*>(-1)) die("shmget");
    areas_.push_back({"sysv", static_cast<CheckedPage*>(at), -1, true, pages()});
  }
  // A file of the root file system, of which every process changes its own pages.
  void program() {
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    const auto size = static_cast<size_t>(lseek(fd, 0, SEEK_END)) / kPageBytes * kPageBytes;
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (fd < 0 || at == MAP_FAILED) die("/proc/self/exe");
    areas_.push_back({"file", static_cast<CheckedPage*>(at), fd, false, std::min(size, bytes_) / kPageBytes});
  }
  // As much of it as may be locked without privileges.
  void locked() {
    CheckedPage* at = map("locked", -1, MAP_PRIVATE | MAP_ANONYMOUS);
    for (size_t bytes = bytes_; bytes >= kPageBytes && mlock(at, bytes) != 0;) bytes /= 2;
  }
  void huge() {
    constexpr size_t kHugeBytes = 2 << 20;
    void* at = mmap(nullptr, kHugeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (at != MAP_FAILED) areas_.push_back({"huge", static_cast<CheckedPage*>(at), -1, false, kHugeBytes / kPageBytes});
  }

  const size_t bytes_;
  std::vector<Area> areas_;
};

// One of the processes: writes its pages and answers its parent's commands, each one byte, with a line.
class Process {
 public:
  Process(Areas& areas, uint64_t index, uint64_t processes, double pages_per_second, int fd)
      : areas_(areas), index_(index), processes_(processes), pages_per_second_(pages_per_second), fd_(fd) {
    for (const Area& area : areas_.all()) counts_.emplace_back(area.count, 1);
  }

  [[noreturn]] void run() {
    for (uint64_t turn = 0;; ++turn) {
      write_next(turn);
      command(MSG_DONTWAIT);
      if (pages_per_second_ <= 0) continue;
      // Sleeps when a millisecond's worth is done.
      owed_ += 1 / pages_per_second_;
      if (owed_ < 0.001) continue;
      usleep(static_cast<useconds_t>(owed_ * 1e6));
      owed_ = 0;
    }
  }

 private:
  bool is_mine(uint64_t page) const { return page % processes_ == index_; }

  void write_next(uint64_t turn) {
    const size_t which = turn % areas_.all().size();
    Area& area = areas_.all()[which];
    if (area.fixed) return;
    const uint64_t mine = (area.count - index_ + processes_ - 1) / processes_;
    const uint64_t page = index_ + turn / areas_.all().size() % mine * processes_;
    area.write(page, ++counts_[which][page]);
    ++writes_;
  }

  // 's': stops until 'g' ("go"); within, 'v' verifies, 't' writes a token into the first page of each shared area, 'c'
  // checks that it is there. The page is made right again by its owner at 'g'.
  void command(int flags) {
    char byte = 0;
    if (recv(fd_, &byte, 1, flags) != 1) {
      if (flags == 0 || (errno != EAGAIN && errno != EINTR)) _exit(0);  // the parent has gone
      return;
    }
    if (byte == 's') {
      answer("ok");
      stopped_ = true;
      while (stopped_) command(0);
    }
    if (byte == 'v') answer(verify());
    if (byte == 't') answer(put_token());
    if (byte == 'c') answer(find_token());
    if (byte == 'g') go();
  }

  void answer(const std::string& text) { write_all(fd_, text + "\n"); }

  std::string verify() const {
    for (size_t which = 0; which < counts_.size(); ++which) {
      const Area& area = areas_.all()[which];
      if (area.name == "sealed" && fcntl(area.fd, F_GET_SEALS) != kSeals) return "sealed has other seals";
      for (uint64_t page = 0; page < area.count; ++page) {
        // Another's page in a shared area is checked by its owner; in a private one nobody has written it here.
        if (!is_mine(page) && area.shared) continue;
        const uint64_t count = counts_[which][page];
        const CheckedPage found = area.read(page);
        if (!page_holds(found, page, count))
          return area.name + " page " + std::to_string(page) + " " + page_fault(found, page, count);
      }
    }
    return "ok " + std::to_string(writes_);
  }

  std::string put_token() {
    for (Area& area : areas_.all()) {
      if (area.shared && !area.fixed) area.write(0, ~uint64_t{0});
    }
    return "ok";
  }
  std::string find_token() const {
    for (const Area& area : areas_.all()) {
      if (area.shared && !area.fixed && !page_holds(area.read(0), 0, ~uint64_t{0}))
        return area.name + " is no longer shared";
    }
    return "ok";
  }
  void go() {
    for (size_t which = 0; which < counts_.size(); ++which) {
      if (areas_.all()[which].shared && !areas_.all()[which].fixed && is_mine(0))
        areas_.all()[which].write(0, counts_[which][0]);
    }
    stopped_ = false;
    answer("ok");
  }

  Areas& areas_;
  const uint64_t index_;
  const uint64_t processes_;
  const double pages_per_second_;
  const int fd_;
  std::vector<std::vector<uint32_t>> counts_;
  uint64_t writes_ = 0;
  double owed_ = 0;
  bool stopped_ = false;
};

// The parent's ends of the processes.
class Group {
 public:
  void start(Areas& areas, uint64_t processes, double pages_per_second) {
    for (uint64_t index = 0; index < processes; ++index) {
      int ends[2];
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) die("socketpair");
      const pid_t pid = fork();
      if (pid < 0) die("fork");
      if (pid == 0) {
        for (int fd : fds_) close(fd);
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        Process(areas, index, processes, pages_per_second, ends[1]).run();
      }
      close(ends[1]);
      fds_.push_back(ends[0]);
    }
  }

  std::string verify(const std::string& names) {
    const std::lock_guard lock(mutex_);
    writes_ = 0;
    std::string why = all('s', fds_);
    if (why.empty()) why = all('v', fds_);
    for (size_t i = 0; i < fds_.size() && why.empty(); ++i) {
      why = all('t', {fds_[i]});
      if (why.empty()) why = all('c', fds_);
      // Its owner makes the page right again before the next one writes its token.
    }
    if (const std::string going = all('g', fds_); why.empty()) why = going;
    return std::string("{\"ok\": ") + (why.empty() ? "true" : "false") + ", \"areas\": \"" + names +
           "\", \"writes\": " + std::to_string(writes_) + (why.empty() ? "" : ", \"why\": \"" + why + "\"") + "}";
  }

 private:
  // Sends the command to each and waits for its answer, one after the other; the first that is not "ok", or nothing.
  std::string all(char command, const std::vector<int>& fds) {
    std::string why;
    for (int fd : fds) {
      write_all(fd, std::string_view(&command, 1));
      const std::string said = read_line(fd);
      if (said.starts_with("ok ")) writes_ += std::stoull(said.substr(3));
      if (!said.starts_with("ok") && why.empty()) why = said;
    }
    return why;
  }
  static std::string read_line(int fd) {
    std::string line;
    for (char c = 0; recv(fd, &c, 1, 0) == 1 && c != '\n';) line += c;
    return line.empty() ? "a process has gone" : line;
  }

  std::mutex mutex_;
  std::vector<int> fds_;
  uint64_t writes_ = 0;
};

int run(int argc, char** argv) {
  const Flags flags(argc, argv, {{"bytes", "4194304"}, {"processes", "3"}, {"rate", "0"}, {"port", "7008"}});
  const auto processes = static_cast<uint64_t>(std::max(1L, flags.number("processes")));
  const auto bytes = static_cast<size_t>(flags.number("bytes")) / kPageBytes * kPageBytes;
  if (bytes / kPageBytes < processes) return std::fputs("too little memory for its processes\n", stderr), 2;
  Areas areas(bytes);
  Group group;
  // Before the first thread.
  group.start(areas, processes, static_cast<double>(flags.number("rate")) / kPageBytes);
  const int listener = listen_on(static_cast<uint16_t>(flags.number("port")));
  if (!write_all(STDOUT_FILENO, "ready\n")) return 1;
  serve_lines(listener, [&](const std::string& line) -> std::string {
    if (line == "verify") return group.verify(areas.names());
    return "{\"ok\": false, \"why\": \"unknown command\"}";
  });
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return godwit::workloads::run(argc, argv);
}
