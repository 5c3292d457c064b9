// Started by the agent that is the source of a migration, one for each: stops processes for it. Standard input is the
// socket to the agent. See tracee/attacher.h.
#include "tracee/attacher.h"

#include <unistd.h>

int main() { godwit::serve_as_attacher(STDIN_FILENO); }
