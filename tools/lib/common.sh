# shellcheck shell=bash
# Sourced by the tools: one way to speak and to fail.

# say TEXT…: progress, on standard error so that a tool's standard output stays its result.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die TEXT…: what failed and why, then exit 1.
die() {
  say "error: $*"
  exit 1
}

# need_root PURPOSE: most tools make namespaces or install packages; say so at once, not half way through.
need_root() {
  [[ $EUID -eq 0 ]] || die "must run as root ($1); try: sudo $0"
}
