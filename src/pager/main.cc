// godwit-pager, one for each container that arrives: migration/pager_service.h. The agent starts it, with a listening
// socket as standard input and the migration's id as an argument, for those who look at the list of processes.
//
// It goes to the background at once, so that its starter does not have to wait for it.

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "base/log.h"
#include "migration/pager_service.h"

namespace {

void go_to_background() {
  if (::fork() != 0) ::_exit(0);
  ::setsid();
  if (::fork() != 0) ::_exit(0);
}

// A userfaultfd for each process of the container.
void allow_many_descriptors() {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int main(int argc, char**) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: godwit-pager ID   (started by godwitd)\n");
    return 2;
  }
  // It ends when its container's memory is there, not when its agent is told to.
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) ::signal(number, SIG_IGN);
  allow_many_descriptors();
  go_to_background();
  if (::chdir("/") != 0) return 1;
  godwit::log::init("godwit-pager", "info");
  auto service = godwit::PagerService::create(godwit::ScopedFd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)));
  if (!service) {
    godwit::log::error("{}", service.error().text());
    return 1;
  }
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  (*service)->run();
  ::_exit(0);
}
