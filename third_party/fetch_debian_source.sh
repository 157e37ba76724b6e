#!/bin/bash
# Fetches one source or architecture-independent binary package from a newer Debian suite than the
# system's own, without installing anything and without touching the system's apt configuration.
#
#   fetch_debian_source.sh source|binary PACKAGE DEST PIN SHA256 SERIES
#
#   PACKAGE  source package (imgui) or binary package (libminja-dev)
#   DEST     folder to create: the unpacked upstream tarball, or the unpacked .deb
#   PIN      wanted version: upstream version for source, full version for binary
#   SHA256   of the pinned .orig tarball or .deb; checked on top of apt's own signature chain
#   SERIES   extended regular expression: if PIN is in no suite, the newest version that matches is
#            taken (apt has verified it against the archive's signed index) and the script says so
#
# The mirror is the one that the system's apt already uses: `apt-get --print-uris update` names it,
# whatever the format of the configuration. A private sources list adds newer suites of that mirror;
# lists, cache and locks stand in a temporary folder. Signatures are verified with the system's
# archive keyring. Works as root and as an ordinary user. Exit 0: DEST is whole. Exit 1: not found.
set -euo pipefail

if [ $# -ne 6 ]; then
  sed -n '2,18s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
kind=$1 package=$2 dest=$3 pin=$4 sha256=$5 series=$6
suites="forky sid trixie"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "fetch $package: $*" >&2; }

for tool in apt-get apt-cache dpkg dpkg-deb tar xz sha256sum; do
  if ! command -v "$tool" >/dev/null; then
    say "no $tool here (not a Debian system?)"
    exit 1
  fi
done

mkdir -p "$(dirname "$dest")"
dest=$(cd "$(dirname "$dest")" && pwd)/$(basename "$dest")
# Two configure runs may share the folder: the second waits, then finds the first one's result.
exec 9>"$dest.lock"
flock 9
if [ -e "$dest/.complete" ]; then
  exit 0
fi

work=$(mktemp -d "$dest.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,download}

apt_options=(
  -o Dir::State::Lists="$work/lists"
  -o Dir::Cache="$work/cache"
  -o Dir::Etc::sourcelist="$work/sources.list"
  -o Dir::Etc::sourceparts="$work/parts"
  -o APT::Sandbox::User=root # the download user cannot enter a private folder; ignored unless root
  -o Acquire::Languages=none
  -o Acquire::PDiffs=false
  -o Acquire::Retries=2
  -o Acquire::http::Timeout=30
  -o Debug::NoLocking=1
)
if [ "$kind" = source ]; then list_type=deb-src; else list_type=deb; fi

# The system's mirrors, those that carry the system's own release first; security archives hold none
# of what is wanted here.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
mirrors=$(apt-get --print-uris update 2>/dev/null |
  sed -n "s|^'\([^']*\)/dists/\([^']*\)/InRelease'.*|\2 \1|p" |
  awk -v own="$codename" '$1 ~ /security/ { next }
       { rank = ($1 == own) ? 0 : ($1 ~ "^" own) ? 1 : 2; if (!($2 in seen)) { seen[$2]; print rank, $2 } }' |
  sort -s -k1,1n | cut -d' ' -f2)
if [ -z "$mirrors" ]; then
  say "the system's apt configuration names no mirror"
  exit 1
fi

# The archive's versions of the package in the lists fetched so far, one per line.
versions() {
  if [ "$kind" = source ]; then
    apt-cache "${apt_options[@]}" showsrc --only-source "$package" 2>/dev/null
  else
    apt-cache "${apt_options[@]}" show "$package" 2>/dev/null
  fi | sed -n 's/^Version: //p' | sort -u
}

# The version that is pinned, if the lists have it (a source pin leaves the Debian revision open).
pinned() {
  local version
  for version in $(versions); do
    if [ "$version" = "$pin" ] || { [ "$kind" = source ] && [ "${version%-*}" = "$pin" ]; }; then
      echo "$version"
      return
    fi
  done
}

newest_of_series() {
  local best="" version
  for version in $(versions | grep -E "^$series" || true); do
    if [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best"; then best=$version; fi
  done
  echo "$best"
}

# Downloads version $1 of the package and unpacks it into DEST.
take() {
  local version=$1 must_match=$2 file found
  rm -rf "$work/download" "$work/unpacked"
  mkdir -p "$work/download" "$work/unpacked"
  if [ "$kind" = source ]; then
    (cd "$work/download" && apt-get "${apt_options[@]}" -qq source --download-only --tar-only \
      "$package=$version" >"$work/log" 2>&1) || true
    file=$(find "$work/download" -name '*.orig.tar.*' ! -name '*.asc' | head -n 1)
  else
    (cd "$work/download" && apt-get "${apt_options[@]}" -qq download "$package=$version" \
      >"$work/log" 2>&1) || true
    file=$(find "$work/download" -name '*.deb' | head -n 1)
  fi
  if [ -z "$file" ]; then
    say "version $version is listed but could not be downloaded:"
    tail -n 3 "$work/log" >&2
    return 1
  fi
  found=$(sha256sum "$file" | cut -d' ' -f1)
  if [ "$found" != "$sha256" ]; then
    if [ "$must_match" = yes ]; then
      say "$(basename "$file") has SHA-256 $found, expected $sha256: refused"
      return 1
    fi
    say "note: version $version instead of the pinned $pin (SHA-256 $found, signed by the archive)"
  fi
  if [ "$kind" = source ]; then
    tar -xf "$file" -C "$work/unpacked" --strip-components=1
  else
    dpkg-deb -x "$file" "$work/unpacked"
  fi
  printf '%s %s\n' "$version" "$found" >"$work/unpacked/.complete"
  rm -rf "$dest"
  mv "$work/unpacked" "$dest"
  say "version $version unpacked"
}

for mirror in $mirrors; do
  : >"$work/sources.list"
  for suite in $suites; do
    signed=""
    if [ -r "$keyring" ]; then signed="[signed-by=$keyring] "; fi
    cp "$work/sources.list" "$work/sources.before"
    echo "$list_type $signed$mirror $suite main" >>"$work/sources.list"
    say "reading the package list of suite $suite"
    if ! apt-get "${apt_options[@]}" -qq -o APT::Update::Error-Mode=any update >"$work/log" 2>&1; then
      say "suite $suite is not usable: $(grep -E '^[EW]:' "$work/log" | head -n 1)"
      cp "$work/sources.before" "$work/sources.list"
      continue
    fi
    version=$(pinned)
    if [ -n "$version" ] && take "$version" yes; then exit 0; fi
  done
  version=$(newest_of_series)
  if [ -n "$version" ] && [ "$version" != "$(pinned)" ] && take "$version" no; then exit 0; fi
done
say "neither $pin nor a version that matches '$series' could be had from Debian"
exit 1
