#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test_support.h"
#include "kernel/userfaultfd.h"

namespace godwit {
namespace {

TEST(CheckUserfaultfd, RootHasIt) { must(check_userfaultfd()); }

// As under a kernel or a policy that does not give it.
TEST(CheckUserfaultfd, WithoutPrivilegeItIsMissed) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(2);
    ::_exit(check_userfaultfd() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace godwit
