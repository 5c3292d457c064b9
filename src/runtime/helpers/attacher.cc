// Started by the agent that is the source of a migration, one for each: stops processes for it. Standard input is the
// socket to the agent. Arguments: the container's cgroup; for how many milliseconds it is held at most; the migration's
// directory, to be seen by the next agent. See tracee/attacher.h.
#include "tracee/attacher.h"

#include <unistd.h>

#include <cstdlib>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  godwit::serve_as_attacher(STDIN_FILENO, argv[1], godwit::milliseconds(std::atoll(argv[2])));
}
