#!/bin/bash
# Installs the Debian packages that Layerscope needs and that are missing; says what it does.
#
#   install_deps.sh [--gui] [--test] [--check]
#
#   --gui    also what the window needs       --test   also what the tests need
#   --check  only say what is missing (exit 1 if anything is)
#
# Nothing missing: prints nothing, touches nothing. Root installs directly, others through sudo where
# it asks for no password; otherwise the exact command is printed and the exit code is 4.
set -euo pipefail

base="g++ cmake ninja-build pkg-config make git ca-certificates dpkg-dev xz-utils
  nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libpcre2-dev libhwy-dev zlib1g-dev libgtest-dev
  libcpp-httplib-dev"
gui="libglfw3-dev libvulkan-dev mesa-vulkan-drivers vulkan-validationlayers glslang-tools
  libpng-dev libfontconfig-dev fonts-dejavu-core fonts-inter fonts-droid-fallback fonts-symbola"
# What the build does without, saying so, where it cannot be had.
gui_optional="libdbus-1-dev"
test="libbenchmark-dev xvfb xauth xdotool clang-format clang-tidy curl"
# Tests that need these are skipped without them.
test_optional="dbus-daemon"

packages=$base
optional=""
check_only=no
for argument in "$@"; do
  case $argument in
  --gui) packages="$packages $gui" optional="$optional $gui_optional" ;;
  --test) packages="$packages $test" optional="$optional $test_optional" ;;
  --check) check_only=yes ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
  esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install_deps: this is no Debian-like system; install the counterparts of:" $packages >&2
  echo "install_deps: going on, the build will say what it does not find" >&2
  exit 0
fi

absent() { # PACKAGE...: those that are not installed
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      printf ' %s' "$package"
  done
}
# shellcheck disable=SC2086 # the lists are meant to be split
missing=$(absent $packages)
# shellcheck disable=SC2086
wanted=$(absent $optional)
if [ -z "$missing$wanted" ]; then
  exit 0
fi
if [ "$check_only" = yes ]; then
  [ -z "$wanted" ] || echo "optional:$wanted"
  [ -n "$missing" ] || exit 0
  echo "missing:$missing"
  exit 1
fi

apt_install="apt-get install -y --no-install-recommends"
install="$apt_install$missing$wanted"
if [ "$(id -u)" = 0 ]; then
  become="env"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  become="sudo -n env"
elif [ -z "$missing" ]; then
  exit 0
else
  echo "Packages are missing and this user may not install them. Run this once, then try again:" >&2
  echo "  sudo sh -c 'apt-get update && $install'" >&2
  exit 4
fi

echo "Installing from the system's packages:$missing$wanted"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! $become DEBIAN_FRONTEND=noninteractive apt-get -q update >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "install_deps: apt-get update failed (above); trying with the lists that are there" >&2
fi
# shellcheck disable=SC2086 # the lists are meant to be split
if [ -n "$wanted" ] && ! $become DEBIAN_FRONTEND=noninteractive $apt_install$wanted >"$log" 2>&1; then
  echo "install_deps: going on without$wanted" >&2
fi
# shellcheck disable=SC2086
if [ -n "$missing" ] && ! $become DEBIAN_FRONTEND=noninteractive $apt_install$missing >"$log" 2>&1; then
  tail -n 25 "$log" >&2
  echo "install_deps: '$apt_install$missing' failed (above)" >&2
  exit 4
fi
echo "Installed."
