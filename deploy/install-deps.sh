#!/bin/sh
# install-deps.sh: installs what building, testing and the demonstration need, on Debian 12 and
# Ubuntu 22.04 or later. Asks nothing, installs only what is missing, and needs root (or sudo) only
# then. On other systems it says what is needed.
set -eu

BUILD_NEEDS="make gcc pkg-config libc6-dev libsodium-dev libzstd-dev libjansson-dev libyaml-dev
  libopenblas-pthread-dev libcmocka-dev"
CHECK_NEEDS="clang clang-format shellcheck zstd bible-kjv"
# libFuzzer and the sanitizers of clang: a package of its own since Debian 12, whose number is
# clang's. On Ubuntu 22.04 they come with clang.
FUZZ_NEEDS=

if ! [ -x /usr/bin/dpkg-query ] || ! [ -x /usr/bin/apt-get ]; then
  cat >&2 <<END
install-deps: this is neither Debian nor Ubuntu, so please install by hand what these packages hold
(Debian's names; usually NAME-devel or NAME elsewhere):
  to build:  $BUILD_NEEDS
  to check:  $CHECK_NEEDS, and clang's compiler-rt for 'make fuzz'
END
  # Whoever has installed them goes on.
  pkg-config --exists libsodium libzstd jansson yaml-0.1 openblas \
    2>/dev/null && exit 0
  exit 69
fi

installed() {
  dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}
missing_of() {
  for name in "$@"; do
    installed "$name" || printf '%s ' "$name"
  done
}
clang_number() {
  dpkg-query -W -f '${Depends}' clang 2>/dev/null | sed -n 's/.*clang-\([0-9][0-9]*\).*/\1/p'
}

# shellcheck disable=SC2086
missing=$(missing_of $BUILD_NEEDS $CHECK_NEEDS)
number=$(clang_number)
if [ -n "$number" ] && ! [ -e "$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a)" ] &&
  ! installed "libclang-rt-$number-dev"; then
  FUZZ_NEEDS=libclang-rt-$number-dev
fi
[ -z "$missing$FUZZ_NEEDS" ] && exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
  as_root="sudo"
  command -v sudo >/dev/null || {
    echo "install-deps: missing: $missing$FUZZ_NEEDS" >&2
    echo "install-deps: run this once as root:  apt-get install $missing$FUZZ_NEEDS" >&2
    exit 77
  }
fi
apt() {
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
  "$@" >"$log" 2>&1 || { rc=$?; cat "$log" >&2; echo "install-deps: '$*' failed" >&2; return $rc; }
}
echo "install-deps: installing $missing$FUZZ_NEEDS"
quietly apt update
# shellcheck disable=SC2086
[ -z "$missing" ] || quietly apt install -y --no-install-recommends $missing
number=$(clang_number)
# Only fuzzing needs it, so its absence stops nobody.
if [ -n "$number" ] && ! [ -e "$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a)" ]; then
  apt install -y --no-install-recommends "libclang-rt-$number-dev" >"$log" 2>&1 ||
    echo "install-deps: no libFuzzer for clang $number here; 'make fuzz' will not work"
fi
echo "install-deps: done"
