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
test="libbenchmark-dev xvfb xauth xdotool clang-format clang-tidy curl"

packages=$base
check_only=no
for argument in "$@"; do
  case $argument in
  --gui) packages="$packages $gui" ;;
  --test) packages="$packages $test" ;;
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

missing=""
for package in $packages; do
  if ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
    missing="$missing $package"
  fi
done
if [ -z "$missing" ]; then
  exit 0
fi
if [ "$check_only" = yes ]; then
  echo "missing:$missing"
  exit 1
fi

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
  become="env"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  become="sudo -n env"
else
  echo "Packages are missing and this user may not install them. Run this once, then try again:" >&2
  echo "  sudo sh -c 'apt-get update && $install'" >&2
  exit 4
fi

echo "Installing from the system's packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! $become DEBIAN_FRONTEND=noninteractive apt-get -q update >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "install_deps: apt-get update failed (above); trying with the lists that are there" >&2
fi
# shellcheck disable=SC2086 # the lists are meant to be split
if ! $become DEBIAN_FRONTEND=noninteractive $install >"$log" 2>&1; then
  tail -n 25 "$log" >&2
  echo "install_deps: '$install' failed (above)" >&2
  exit 4
fi
echo "Installed."
