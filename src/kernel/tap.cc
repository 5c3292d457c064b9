#include "kernel/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "base/file.h"

namespace godwit {

Result<Tap> make_tap(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return fail("tap name " + name + " is not valid");
  Tap tap;
  TRY_ASSIGN(tap.fd, open_file("/dev/net/tun", O_RDWR | O_NONBLOCK));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL);
  if (ioctl(tap.fd.get(), TUNSETIFF, &request) != 0) return fail_errno("making the tap " + name);
  tap.index = if_nametoindex(name.c_str());
  if (tap.index == 0) return fail_errno("index of the tap " + name);
  return tap;
}

}  // namespace godwit
