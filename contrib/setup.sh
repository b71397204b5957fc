# shellcheck shell=sh
# Sourced by contrib/try and contrib/check: host packages, devices, accounts, a virtual environment.
# Everything that needs rights is done where there are rights (root, or sudo without a password) and
# otherwise named exactly, as the line to type.

umask 022

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$0: $*"
    exit 1
}

# Run a command as root, or fail when that is not possible without asking for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 126
    fi
}

# Print the packages, given as PACKAGE:PROOF, whose proof (a command, or a file) is not there.
missing_packages() {
    for pair; do
        package=${pair%%:*} proof=${pair#*:}
        case $proof in
        /*) [ -e "$proof" ] || printf '%s ' "$package" ;;
        python-venv) "$python" -c 'import ensurepip, venv' 2>/dev/null || printf '%s ' "$package" ;;
        *) PATH=$PATH:/usr/sbin:/sbin command -v "$proof" >/dev/null 2>&1 || printf '%s ' "$package" ;;
        esac
    done
}

install_packages() {
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if command -v apt-get >/dev/null 2>&1; then
        # shellcheck disable=SC2086 # a list of names
        if as_root true && say "installing: $missing" && as_root apt-get update -q >/dev/null &&
            as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends $missing >/dev/null; then
            missing=$(missing_packages "$@")
            [ -n "$missing" ] || return 0
            die "still missing after apt-get install: $missing"
        fi
        say "These packages are missing and cannot be installed without root. Type, then start again:"
        say "    sudo apt-get install -y --no-install-recommends $missing"
    else
        say "These Debian packages are missing; install what this system calls them, then start again:"
        say "    $missing"
    fi
    exit 1
}

# Set $python: the system's, which every account can run, else the one in PATH.
check_python() {
    for python in /usr/bin/python3 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return 0
    done
    die "Python 3.11 or newer is needed and was not found: sudo apt-get install -y python3"
}

# slirp4netns opens /dev/net/tun, fuse-overlayfs /dev/fuse; udev makes both 0666.
open_devices() {
    for pair in net/tun:10:200 fuse:10:229; do
        node=/dev/${pair%%:*} numbers=${pair#*:}
        if [ ! -e "$node" ]; then
            as_root mkdir -p "$(dirname "$node")" 2>/dev/null || true
            as_root mknod -m 666 "$node" c "${numbers%:*}" "${numbers#*:}" 2>/dev/null || true
        fi
        if [ -e "$node" ] && [ "$(stat -c %a "$node")" != 666 ]; then
            as_root chmod 666 "$node" 2>/dev/null || true
        fi
        if [ ! -e "$node" ] || [ "$(stat -c %a "$node")" != 666 ]; then
            say "note: $node is not open to users here; for it: sudo chmod 666 $node"
        fi
    done
}

# Make sure that a user has subordinate ids, or say what is given up.
subordinate_ids() {
    if grep -q "^$1:" /etc/subuid 2>/dev/null && grep -q "^$1:" /etc/subgid 2>/dev/null; then
        return 0
    fi
    first=$(awk -F: 'BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { print top }' \
        /etc/subuid /etc/subgid 2>/dev/null || echo 100000)
    range=$first-$((first + 65535))
    as_root usermod --add-subuids "$range" --add-subgids "$range" "$1" 2>/dev/null ||
        say "note: $1 has no subordinate ids, containers get one id only; for more:
    sudo usermod --add-subuids $range --add-subgids $range $1"
}

# Make a regular account when there is none of that name.
ensure_account() {
    id "$1" >/dev/null 2>&1 || {
        say "making the account $1 (containers are run as a regular user, not as root)"
        useradd --create-home --shell /bin/bash "$1"
    }
    [ "$(id -u "$1")" != 0 ] || die "$1 is root"
    subordinate_ids "$1"
}

# Print a directory with this checkout that every user can read: the checkout, or a copy of it.
open_checkout() {
    path=$1
    while [ "$path" != / ]; do
        [ -n "$(find "$path" -maxdepth 0 -perm -005)" ] || break
        path=$(dirname "$path")
    done
    if [ "$path" = / ] || [ "$(id -u)" != 0 ]; then
        printf '%s\n' "$1"
        return 0
    fi
    copy=/var/tmp/rpod-checkout
    rm -rf "$copy"
    mkdir -m 755 "$copy"
    say "$1 is closed to other users: working in a copy, $copy"
    (cd "$1" && tar -cf - --exclude=./.venv --exclude=./build .) | tar -xf - -C "$copy" --no-same-owner
    chmod -R go+rX "$copy"
    printf '%s\n' "$copy"
}

# Make DIRECTORY/.venv and install the project with the given extras ("" or "[dev]") into it.
install_project() {
    directory=$1 extras=$2
    if ! "$directory/.venv/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$directory/.venv"
        "$python" -m venv "$directory/.venv" || die "$python -m venv failed"
    fi
    rm -rf "$directory/build" # of an earlier time: it would be installed
    say "installing rpod$extras into $directory/.venv"
    "$directory/.venv/bin/python" -m pip install -qq --disable-pip-version-check "$directory$extras" ||
        die "pip could not install the project; its words are above"
    rm -rf "$directory/build"
}

# Run a command as a user, with the environment of a fresh login and nothing of ours.
as_user() {
    user=$1
    shift
    if [ "$(id -un)" = "$user" ]; then
        "$@"
        return
    fi
    home=$(getent passwd "$user" | cut -d: -f6)
    runtime=/run/user/$(id -u "$user")
    [ -d "$runtime" ] || runtime=
    (cd / && setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --reset-env \
        env PATH="$PATH" HOME="$home" ${runtime:+XDG_RUNTIME_DIR="$runtime"} "$@")
}
