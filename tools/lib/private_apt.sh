# shellcheck shell=bash
# Sourced by the tools that take packages of another Debian suite without installing them.

readonly mirror=${GODWIT_DEBIAN_MIRROR:-http://deb.debian.org/debian}
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Writes a private apt configuration for one suite: its own lists, cache and (empty) package status. With no package
# installed, apt's own resolver names every library a package needs, the C library among them.
write_apt_conf() { # SUITE DIRECTORY
  mkdir -p "$2"/{lists/partial,archives/partial,etc/preferences.d}
  : >"$2/status"
  echo "deb [signed-by=$keyring target=Packages] $mirror $1 main" >"$2/sources.list"
  # trixie-backports alone would lack the libraries.
  [[ $1 != *-backports ]] ||
    echo "deb [signed-by=$keyring target=Packages] $mirror ${1%-backports} main" >>"$2/sources.list"
  # Valid-Until is not checked: a mirror frozen in time is still signed, and what is taken from it is tried anyway.
  cat >"$2/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::State "$2";
Dir::State::Lists "$2/lists";
Dir::State::status "$2/status";
Dir::Cache "$2";
Dir::Cache::Archives "$2/archives";
Dir::Etc "$2/etc";
Dir::Etc::SourceList "$2/sources.list";
Dir::Etc::SourceParts "-";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
CONF
}

# Runs apt-get quietly under the private configuration; on failure shows what it said.
apt_private() { # DIRECTORY ARGS…
  local conf=$1/apt.conf log=$1/log
  shift
  apt-get -c "$conf" -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 && return
  tail -n 5 "$log" >&2
  return 1
}
