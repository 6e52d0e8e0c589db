#!/bin/bash
# shellcheck shell=bash
# A Debian of its own under systemd, on the lab's capture host: what installs and runs the package there.
# shellcheck disable=SC2154,SC2034 # lab_here is set by service.sh, box_why is for the caller
# Source it after service.sh.  The machine's root is below it read-only, an overlay takes what is written;
# process ids, cgroups, users' runtime folders and the journal are the box's own.  It needs real root: an
# ordinary user's namespace has no second user to give files to.
box_pid='' box_why=''

box_start() {
    local root
    [ "$(awk 'NR == 1 { print $3 }' /proc/self/uid_map)" = 4294967295 ] || {
        box_why='a box needs real root (users, cgroups)'
        return 1
    }
    root=$(mktemp -d "$LAB_DIR/box.XXXXXX")
    lab_start capture "$LAB_DIR/logs/box.log" unshare --mount --pid --fork --kill-child --cgroup --uts --ipc -- \
        "$lab_here/box.sh" --inside "$root"
    # shellcheck disable=SC2154 # lab_start sets it
    lab_wait 10 box_find_systemd "$lab_pid" || {
        box_why="systemd does not start: $(tail -n 5 "$LAB_DIR/logs/box.log")"
        return 1
    }
    lab_wait 30 box_is_up || {
        box_why="systemd does not come up: $(box systemctl is-system-running 2>&1)"
        return 1
    }
}
box_kill() { # as a machine that fails: nothing in it hears of it
    kill -9 "$box_pid"
    lab_wait 10 box_is_gone
}
box_is_gone() {
    [ ! -e "/proc/$box_pid" ]
}
box_find_systemd() { # UNSHARE'S PID
    box_pid=$(pgrep -P "$1") && [ "$(cat "/proc/$box_pid/comm")" = systemd ]
}
box_is_up() {
    case $(box systemctl is-system-running 2>/dev/null) in running | degraded) return 0 ;; *) return 1 ;; esac
}

box() { # COMMAND...: run inside, with a clean environment
    nsenter -t "$box_pid" -m -p -C -u -i -n -r -w -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
box_file() { # PATH: where a file of the box lies, seen from outside
    printf '/proc/%s/root%s' "$box_pid" "$1"
}

box_inside() { # ROOT: becomes the box's process 1
    local root=$1 unit
    set -eu
    mount --make-rprivate /
    mount -t tmpfs box "$root"
    mkdir "$root/written" "$root/work" "$root/new"
    mount -t overlay box -o "lowerdir=/,upperdir=$root/written,workdir=$root/work" "$root/new"
    cd "$root/new"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=0755 box run
    mount -t tmpfs -o mode=1777 box tmp
    mount --rbind /dev dev
    mkdir -p former
    pivot_root . former
    umount -l /former
    # Only the box's own: no service of the machine below is started again in it.
    for unit in /etc/systemd/system/*.wants /lib/systemd/system/{sysinit,timers,sockets,network-online}.target.wants; do
        rm -rf "$unit"
    done
    mkdir -p /etc/systemd/system/sysinit.target.wants
    ln -s /lib/systemd/system/systemd-journald.service /etc/systemd/system/sysinit.target.wants/
    rm -f /var/lib/man-db/auto-update # (the index of manual pages takes longer than all the rest)
    # An id of its own: without one systemd takes this for a first boot and enables what the vendor would, as
    # waiting two minutes for a network that nobody but the lab configures.
    tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
    hostname tapbox-box
    container=lab exec /lib/systemd/systemd --system --unit=basic.target --show-status=0
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    [ "${1-}" = --inside ] || exit 2
    box_inside "$2"
fi
