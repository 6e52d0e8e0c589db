#!/bin/bash
# Install the Debian 12 packages that the named groups need and that are not there yet.
# usage: tests/support/deps.sh build|lab|test|bench|deb ...
set -euo pipefail

build=(gcc libc6-dev make pkg-config libmicrohttpd-dev libgnutls28-dev libcurl4-openssl-dev libssl-dev libjansson-dev
    libexpat1-dev libpcap-dev libzstd-dev libsqlite3-dev libyaml-dev libseccomp-dev libsystemd-dev)
lab=(iproute2 ethtool procps util-linux curl jq openssl zstd tcpdump tshark dnsmasq-base bind9-dnsutils
    iputils-ping python3 awscli radosgw ceph-mon ceph-osd ceph-common ca-certificates)
test=(libcmocka-dev clang clang-format clang-tidy libclang-rt-14-dev llvm cppcheck shellcheck
    python3-boto3 python3-cryptography python3-jsonschema python3-scapy python3-dpkt python3-zstandard tcpreplay netcat-openbsd sqlite3
    libcap2-bin git strace dpkg-dev systemd man-db zsh python3-yaml xfsprogs nftables)
bench=(tcpdump tshark stenographer zstd openssl nftables ethtool gnuplot-nox python3-boto3)
deb=(dpkg-dev)
# Test peers come from npm: Debian's, where there is none.
command -v npm >/dev/null || test+=(nodejs npm)

want=()
for group in "$@"; do
    case $group in
    build) want+=("${build[@]}") ;;
    lab) want+=("${lab[@]}") ;;
    test) want+=("${test[@]}") ;;
    bench) want+=("${bench[@]}") ;;
    deb) want+=("${deb[@]}") ;;
    *)
        echo "deps.sh: no group '$group': use build, lab, test, bench or deb" >&2
        exit 2
        ;;
    esac
done

missing=()
for package in "${want[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps.sh: these packages are missing, and there is no sudo to install them with:" >&2
        echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    sudo=(sudo)
fi
echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! {
    "${sudo[@]}" apt-get -q update &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
            "${missing[@]}"
} >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "deps.sh: apt-get failed; its last lines are above" >&2
    exit 1
fi
