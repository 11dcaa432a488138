# shellcheck shell=bash
# Installing what a script needs; sourced by the scripts beside it.

set -euo pipefail

# The root of the checkout.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
# Everything that is built lies in one place, whatever the environment says.
export CARGO_TARGET_DIR=$ROOT/target

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: error: $1"
    [ $# -lt 2 ] || say "  next: $2"
    exit "${3:-1}"
}

# as_root COMMAND...: as root, by sudo where that is needed.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed for: $*" "run this as root, or install sudo"
    fi
}

# make_debian ARGUMENT...: mmdebstrap with its mounts (/proc, /sys, /dev in the new tree) in a namespace of their
# own. One that is killed leaves them; on this machine's own a later rm -rf of the tree would go on into them.
make_debian() {
    as_root unshare --mount --propagation private mmdebstrap "$@"
}

# retry COMMAND...: three tries, a pause between them.
retry() {
    local try
    for try in 1 2 3; do
        "$@" && return 0
        [ "$try" -eq 3 ] || sleep $((try * 2))
    done
    return 1
}

# A package index that cannot be refreshed is no failure: what is needed may be in the old one.
refresh_index() {
    retry as_root apt-get -qq update >/dev/null 2>&1 ||
        say "the package index cannot be refreshed; going on with what there is"
}

# has_package PACKAGE: whether what a package of Debian's gives is here. Where there is no dpkg (Fedora,
# Arch), what tools/ need of it is looked for itself.
has_package() {
    if command -v dpkg-query >/dev/null; then
        dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
        return
    fi
    case $1 in
        ca-certificates) [ -d /etc/ssl/certs ] || [ -d /etc/pki/tls/certs ] ;;
        libc6-dev) has_header stdio.h ;;
        libelf-dev) has_header gelf.h ;;
        libssl-dev) has_header openssl/ssl.h ;;
        linux-source-6.1) [ -e /usr/src/linux-source-6.1.tar.xz ] ;;
        python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
        qemu-system-common) [ -x /usr/lib/qemu/virtiofsd ] || [ -x /usr/libexec/virtiofsd ] ;;
        grub-efi-amd64-bin) [ -d /usr/lib/grub/x86_64-efi ] ;;
        ovmf) [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] ;;
        seabios) [ -e /usr/share/seabios/bios.bin ] ;;
        *) command -v "$(program_of "$1")" >/dev/null ;;
    esac
}

has_header() { echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1; }

# The program that a package is needed for, where it has another name.
program_of() {
    case $1 in
        busybox-static) echo busybox ;;
        e2fsprogs) echo mke2fs ;;
        iproute2) echo ip ;;
        kmod) echo modinfo ;;
        qemu-system-x86) echo qemu-system-x86_64 ;;
        qemu-utils) echo qemu-img ;;
        util-linux) echo taskset ;;
        xz-utils) echo xz ;;
        *) echo "$1" ;;
    esac
}

# need_packages PACKAGE...: installs those that are missing, by apt-get where there is one.
need_packages() {
    local package missing=()
    for package in "$@"; do
        has_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null ||
        die "these are missing and there is no apt-get (named as Debian's packages): ${missing[*]}" "install them with this system's package manager"
    say "installing ${missing[*]}"
    refresh_index
    local strangers
    mapfile -t strangers < <(strangers_of "${missing[@]}")
    [ ${#strangers[@]} -eq 0 ] || say "of another release than what this machine's package sources have, replaced: ${strangers[*]}"
    # Steps that run side by side wait for each other's lock.
    retry as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends --allow-downgrades "${missing[@]}" "${strangers[@]}" >/dev/null ||
        die "cannot install ${missing[*]}" "run: apt-get install ${missing[*]}"
}

# strangers_of PACKAGE...: packages on this machine that are made from the same source as one of these and that no
# package source of this machine has in their version (one from backports, say). What is made from one source
# cannot be installed in two versions.
strangers_of() {
    local package source installed version offered sources=()
    for package in "$@"; do
        source=$(apt-cache show --no-all-versions "$package" 2>/dev/null | sed -n 's/^Source: \([^ ]*\).*/\1/p')
        sources+=("${source:-$package}")
    done
    while read -r source installed version; do
        [[ " ${sources[*]} " = *" $source "* ]] || continue
        offered=$(apt-cache madison "$installed" 2>/dev/null | awk -F ' *[|] *' '/Packages/ { print $2 }')
        [ -z "$offered" ] || grep -qxF "$version" <<<"$offered" || echo "$installed=$(head -n 1 <<<"$offered")"
    done < <(dpkg-query -W -f '${source:Package} ${Package} ${Version}\n')
}

# Debian 12's own Rust is too old; rustup is what Rust's makers offer for that.
install_rust() {
    need_packages curl ca-certificates
    say "installing Rust by rustup"
    local script status=0
    script=$(mktemp)
    retry curl --proto '=https' --tlsv1.2 -sSf -o "$script" https://sh.rustup.rs || status=1
    [ "$status" -ne 0 ] || retry sh "$script" -y -q --profile minimal --no-modify-path >/dev/null || status=1
    rm -f "$script"
    [ "$status" -eq 0 ] ||
        die "Rust cannot be installed" "install Rust 1.91 or newer (https://rustup.rs), then run this again"
    PATH=$HOME/.cargo/bin:$PATH
}

# need_rust: cargo, as the toolchain of the user gives it.
need_rust() {
    command -v cargo >/dev/null || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || install_rust
    need_packages gcc libc6-dev
}

# Where the release binary is, and how it is built.
VMMKIT=$ROOT/target/x86_64-unknown-linux-gnu/release/vmmkit
export VMMKIT

build_vmmkit() {
    local quiet=--quiet
    need_rust
    [ -x "$VMMKIT" ] || {
        quiet=
        say "building vmmkit (3 to 5 minutes on two cores, once)"
    }
    # shellcheck disable=SC2086 # nothing, or one word
    (cd "$ROOT" && cargo build $quiet --release --locked -p vmmkit-cli) ||
        die "vmmkit does not build" "run: cargo build --release -p vmmkit-cli"
}
