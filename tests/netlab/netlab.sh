#!/usr/bin/env bash
#
# netlab.sh - small network laboratories made of Linux network namespaces.
#
# A lab is a set of namespaces "nl-ID-HOST" plus one namespace "nl-ID-sw" that
# holds the bridges.  No lab interface ever exists in the namespace of the
# caller and none is joined to it, so nothing a lab sends can leave the machine
# and two labs can never clash.  Needs root or `sandbox --user`, iproute2,
# util-linux, findutils.
#
# usage: netlab.sh [-i ID] [-o PID] COMMAND [ARGS]
#   -i ID    lab id, [A-Za-z0-9_]{1,20} (or $NETLAB_ID); build commands invent one
#   -o PID   owner: the lab is taken down when process PID is gone
#
# build (prints the lab id; same id + same plan again = nothing to do):
#   lan N [noroute]          h1..hN on 10.77.0.0/16, fd77::/64
#   twolan                   two LANs: a1 a2 (10.1.0.0/24), b1 b2 (10.2.0.0/24),
#                            m1 with a foot in both (eth0 = A, eth1 = B)
#   build [FILE]             any plan (default stdin), see "plan language"
#
# use:
#   exec HOST CMD...         run CMD in HOST (same pid: exec, no child)
#   wait-port HOST tcp|udp PORT [SECONDS]     until something listens there
#   vanish HOST              unplug, kill -9 everything in it, delete it
#   status | list
#
# end:
#   down [ID...]             processes, namespaces, state; succeeds if absent
#   gc                       take down labs whose owner is gone
#   sandbox [--user] -- CMD  run CMD in private pid+mount+net namespaces: labs it
#                            makes vanish with it, even after kill -9.  --user:
#                            without root (user namespace)
#   usable                   can labs be made here?  exit 0, or 1 and the reason
#
# plan language, one statement per line:
#   seg NAME                           a bridge (no multicast snooping)
#   host NAME                          a namespace
#   link HOST IF SEG ADDR/LEN...       veth from HOST:IF to SEG
#   route HOST ROUTE...                arguments of "ip route add"
#   sysctl HOST KEY=VALUE
set -euo pipefail

STATE=${NETLAB_STATE:-/run/netlab}
NSDIR=/run/netns
SELF=${BASH_SOURCE[0]}
[[ $SELF == /* ]] || SELF=$PWD/$SELF
CC=${NETLAB_CC-cubic,reno}         # congestion control: the first allowed; empty: as the machine
ID=${NETLAB_ID:-}
OWNER=

die() { printf 'netlab: %s\n' "$*" >&2; exit 1; }
need_id() { [[ -n $ID ]] || die "no lab id: give -i ID or set NETLAB_ID"; }
ns() { printf 'nl-%s-%s' "$ID" "$1"; }
S() { printf '%s/%s' "$STATE" "$ID"; }
have() { [[ -e $NSDIR/$(ns "$1") ]]; }
need_host() { have "$1" || die "lab $ID has no host $1"; }
in_ns() { local h=$1; shift; nsenter --net="$NSDIR/$(ns "$h")" -- "$@"; }

# ---------------------------------------------------------------- locking ---
# One lock per lab.  The file is removed by `down`, hence the inode check.
lock() {
    local f=$STATE/$ID.lock n=0
    mkdir -p "$STATE" || die "cannot make $STATE"
    while :; do
        # another lab's end may remove the empty directory in between
        { mkdir -p "$STATE" && exec 9>"$f"; } 2>/dev/null || {
            ((++n < 100)) || die "cannot make $f"
            continue
        }
        flock -w 60 9 || die "lab $ID is busy"
        [[ $(stat -Lc %i /proc/self/fd/9) == "$(stat -c %i "$f" 2>/dev/null)" ]] && return
        exec 9>&-
    done
}
unlock() { exec 9>&-; }
drop_lock() { # remove the file of a lab that is gone, if it is free or ours
    local f=$STATE/$ID.lock
    if { : >&9; } 2>/dev/null && [[ ! -d $(S) ]] && flock -n 9 &&
        [[ $(stat -Lc %i /proc/self/fd/9) == "$(stat -c %i "$f" 2>/dev/null)" ]]; then
        rm -f "$f"
    fi
    exec 9>&-
    rmdir "$STATE" 2>/dev/null || :
}

# ------------------------------------------------------------- plan -> ops ---
declare -A BATCH=() SYSC=()
declare -a HOSTS=()
SWB=
LINKS=

check_name() { [[ $2 =~ ^[a-z][a-z0-9]{0,8}$ ]] || die "bad $1 name '$2'"; }

parse() {
    local verb rest a
    while read -r verb rest; do
        [[ -z $verb || $verb == \#* ]] && continue
        read -ra a <<<"$rest"
        case $verb in
        seg)
            check_name segment "${a[0]}"
            SWB+="link add ${a[0]} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"$'\n'
            SWB+="link set ${a[0]} up"$'\n'
            ;;
        host)
            check_name host "${a[0]}"
            [[ ${a[0]} != sw ]] || die "host name sw is taken"
            HOSTS+=("${a[0]}")
            BATCH[${a[0]}]="link set lo up"$'\n'
            SYSC[${a[0]}]="net/ipv6/conf/default/accept_dad=0 net/ipv6/conf/default/router_solicitations=0"
            # the same on every machine, whatever the machine itself prefers
            [[ $CC ]] && SYSC[${a[0]}]+=" cc=$CC"
            ;;
        link)
            local h=${a[0]} i=${a[1]} seg=${a[2]} x
            [[ -n ${BATCH[$h]:-} ]] || die "link: no host $h"
            [[ $i =~ ^[a-z]{1,4}[0-9]$ ]] || die "link: bad interface name $i"
            SWB+="link add $h-$i type veth peer name $i netns $(ns "$h")"$'\n'
            SWB+="link set $h-$i master $seg up"$'\n'
            LINKS+="$h $i $seg"$'\n'
            for x in "${a[@]:3}"; do
                if [[ $x == *:* ]]; then
                    BATCH[$h]+="addr add $x dev $i nodad"$'\n'
                else
                    BATCH[$h]+="addr add $x brd + dev $i"$'\n'
                fi
            done
            BATCH[$h]+="link set $i up"$'\n'
            SYSC[$h]+=" net/ipv6/conf/$i/accept_dad=0 net/ipv6/conf/$i/router_solicitations=0"
            ;;
        route) BATCH[${a[0]}]+="route add ${a[*]:1}"$'\n' ;;
        sysctl) SYSC[${a[0]}]+=" ${a[*]:1}" ;;
        *) die "plan: unknown statement '$verb'" ;;
        esac
    done
    return 0
}

sysctl_script() { # KEY=VALUE... -> shell commands
    local kv k c
    for kv; do
        k=${kv%%=*}
        if [[ $k == cc ]]; then
            k=${kv#*=}
            for c in ${k//,/ }; do printf '(echo %s >ipv4/tcp_congestion_control) 2>/dev/null || ' "$c"; done
            echo :
            continue
        fi
        [[ $k == */* ]] || k=${k//.//}
        printf "echo '%s' >'/proc/sys/%s' || exit 1\n" "${kv#*=}" "$k"
    done
}

apply_host() {
    local kv
    read -ra kv <<<"${SYSC[$1]}"
    {
        echo 'cd /proc/sys/net || exit 1'
        sysctl_script "${kv[@]}"
        printf "exec ip -batch - <<'END'\n%sEND\n" "${BATCH[$1]}"
    } | in_ns "$1" /bin/sh -s
}

apply() {
    local h batch='' p
    local -a running=()
    for h in sw "${HOSTS[@]}"; do batch+="netns add $(ns "$h")"$'\n'; done
    ip -batch - <<<"$batch"
    # bridged frames must not wander through iptables of the switch, and the
    # switch itself must not speak IPv6 on its ports
    in_ns sw /bin/sh -c 'cd /proc/sys/net
        echo 1 >ipv6/conf/all/disable_ipv6; echo 1 >ipv6/conf/default/disable_ipv6
        [ ! -e bridge/bridge-nf-call-iptables ] || { echo 0 >bridge/bridge-nf-call-iptables
        echo 0 >bridge/bridge-nf-call-ip6tables; echo 0 >bridge/bridge-nf-call-arptables; }'
    [[ -z $SWB ]] || ip -n "$(ns sw)" -batch - <<<"$SWB"
    for h in "${HOSTS[@]}"; do
        apply_host "$h" &
        running+=($!)
        if ((${#running[@]} >= 4)); then
            wait "${running[0]}" || die "host setup failed"
            running=("${running[@]:1}")
        fi
    done
    for p in "${running[@]}"; do wait "$p" || die "host setup failed"; done
    printf '%s' "$LINKS" >"$(S)/links"
}

# ----------------------------------------------------------------- plans ---
plan_lan() {
    local n=${1:?lan N} w route=1 i
    [[ $n =~ ^[1-9][0-9]{0,2}$ ]] || die "lan: N from 1 to 999"
    for w in "${@:2}"; do
        case $w in noroute) route=0 ;; *) die "lan: $w?" ;; esac
    done
    echo "seg lan"
    for ((i = 1; i <= n; i++)); do
        printf 'host h%d\nlink h%d eth0 lan 10.77.%d.%d/16 fd77::%x/64\n' \
            "$i" "$i" $(((i - 1) / 250)) $(((i - 1) % 250 + 1)) "$i"
        ((route)) && echo "route h$i default dev eth0"
    done
    return 0
}
plan_twolan() {
    cat <<-P
	seg lana
	seg lanb
	host a1
	host a2
	host b1
	host b2
	host m1
	link a1 eth0 lana 10.1.0.1/24 fd01::1/64
	link a2 eth0 lana 10.1.0.2/24 fd01::2/64
	link b1 eth0 lanb 10.2.0.1/24 fd02::1/64
	link b2 eth0 lanb 10.2.0.2/24 fd02::2/64
	link m1 eth0 lana 10.1.0.9/24 fd01::9/64
	link m1 eth1 lanb 10.2.0.9/24 fd02::9/64
	route a1 default dev eth0
	route a2 default dev eth0
	route b1 default dev eth0
	route b2 default dev eth0
	route m1 default via 10.1.0.1 dev eth0
	P
}
# ----------------------------------------------------------------- build ---
new_id() { printf 'l%x%04x%04x' $$ $RANDOM $RANDOM; }

MINE=0
REAPER=

build() { # plan on stdin
    local plan
    plan=$(cat)
    [[ -n $ID ]] || ID=$(new_id)
    # from here on nothing may stay behind unless we reach "ready"
    trap 'build_exit $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    [[ -z $OWNER ]] || start_reaper # first of all: it also covers a kill -9 of us
    lock
    if [[ -e $(S)/ready ]]; then
        if [[ $(cat "$(S)/plan") == "$plan" ]]; then
            if [[ -n $REAPER ]]; then # the latest owner counts
                stop_reaper
                adopt_reaper
            fi
            trap - EXIT INT TERM HUP
            unlock
            echo "$ID"
            return 0
        fi
        die "lab $ID exists with another plan"
    fi
    MINE=1
    destroy # nothing, or a half built lab
    mkdir -p "$(S)"
    printf '%s\n' "$plan" >"$(S)/plan"
    [[ -z $REAPER ]] || adopt_reaper
    parse <<<"$plan"
    apply
    touch "$(S)/ready"
    trap - EXIT INT TERM HUP
    unlock
    echo "$ID"
}

build_exit() { # STATUS
    trap '' INT TERM HUP
    if ((MINE)); then
        echo "netlab: building $ID ended with $1, undone" >&2
        destroy
    fi
    [[ -z $REAPER ]] || kill_group "$REAPER"
    drop_lock
    exit "$1"
}

# A reaper outlives us, holds no descriptor of ours and waits for the owner.
start_reaper() {
    kill -0 "$OWNER" 2>/dev/null || die "owner $OWNER does not run"
    (
        exec </dev/null >/dev/null 2>&1
        # shellcheck disable=SC2016
        exec setsid /bin/sh -c '
            born() { # start time of process $1; fails when it is gone or a zombie
                { read -r s <"/proc/$1/stat"; } 2>/dev/null || return 1
                set -- ${s##*) }
                [ "$1" != Z ] && shift 19 && t=$1
            }
            born "$1" && t0=$t
            while born "$1" && [ "$t" = "$t0" ]; do sleep 0.1; done
            exec "$2" -i "$3" down' sh "$OWNER" "$SELF" "$ID"
    ) &
    REAPER=$!
}
adopt_reaper() {
    printf '%s\n' "$OWNER" >"$(S)/owner"
    printf '%s\n' "$REAPER" >"$(S)/reaper"
    REAPER=
}
stop_reaper() {
    local r
    r=$(cat "$(S)/reaper" 2>/dev/null || :)
    # never the process we run in: the reaper execs `netlab.sh down`
    if [[ $r =~ ^[0-9]+$ && $r != "$$" ]]; then kill_group "$r"; fi
}

# --------------------------------------------------------------- destroy ---
ancestors() {
    local p=$$ line
    while ((p > 1)); do
        echo "$p"
        line=$(cat "/proc/$p/stat" 2>/dev/null) || break
        line=${line##*) }
        read -r _ p _ <<<"$line"
    done
}

INODES=

inodes() { # [HOST]: the namespaces of the lab
    # shellcheck disable=SC2086
    stat -Lc %i "$NSDIR/nl-$ID-"${1-*} 2>/dev/null || :
}

pids_in_lab() { # [HOST]: processes (main thread) inside namespaces of the lab
    local -A inode=() skip=()
    local n p
    for n in ${INODES:-$(inodes "$@")}; do inode["net:[$n]"]=1; done
    # never the namespace of the caller, never ourselves or what called us
    unset "inode[$(readlink /proc/self/ns/net)]"
    ((${#inode[@]})) || return 0
    for p in $(ancestors); do skip[$p]=1; done
    while read -r p n; do
        p=${p#/proc/}
        p=${p%%/*}
        [[ -n $n && -n ${inode[$n]:-} && -z ${skip[$p]:-} ]] && echo "$p"
    done < <(find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%p %l\n' 2>/dev/null)
    return 0
}

kill_in_lab() { # SIGNAL [HOST]
    local p
    # shellcheck disable=SC2046
    for p in $(pids_in_lab "${@:2}"); do kill "-$1" "$p" 2>/dev/null || :; done
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

destroy() {
    local f p t k batch=''
    stop_reaper
    INODES=$(inodes)
    p=$(pids_in_lab)
    # shellcheck disable=SC2086
    if [[ -n $p ]]; then
        kill -TERM $p 2>/dev/null || :
        for ((t = $(now_ms) + 300, k = t + 5000; $(now_ms) < k; )); do
            sleep 0.01
            p=$(pids_in_lab)
            [[ -n $p ]] || break
            (($(now_ms) < t)) || kill -KILL $p 2>/dev/null || :
        done
    fi
    # Removing the names is enough: the kernel then takes the namespaces apart,
    # the switch with all its ports included.  So the far end of a port goes
    # too, even where a thread of a test still holds a host namespace open.
    for f in "$NSDIR/nl-$ID-"*; do
        [[ -e $f ]] && batch+="netns del ${f##*/}"$'\n'
    done
    if [[ -n $batch ]]; then
        ip -force -batch - <<<"$batch" 2>/dev/null || :
        # who came in while we were busy; without names nobody can follow
        p=$(pids_in_lab)
        # shellcheck disable=SC2086
        [[ -z $p ]] || kill -KILL $p 2>/dev/null || :
    fi
    INODES=
    rm -rf "${STATE:?}/${ID:?}"
}

kill_group() { # a setsid leader of ours: the leader and its child
    local line
    line=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    line=${line##*) }
    read -r _ _ pgrp _ <<<"$line"
    [[ $pgrp == "$1" ]] && kill -KILL -- "-$1" 2>/dev/null
    return 0
}

down() {
    local id
    if (($# == 0)); then
        need_id
        set -- "$ID"
    fi
    for id; do
        ID=$id
        [[ $ID =~ ^[A-Za-z0-9_]{1,20}$ ]] || die "bad lab id '$ID'"
        trap '' INT TERM HUP # an interrupted cleanup is no cleanup
        lock
        destroy
        drop_lock
    done
}

vanish() {
    local h=${1:?vanish HOST} p i a b
    need_host "$h"
    lock
    while read -r a b _; do # first silence, so that no FIN or RST escapes
        [[ $a == "$h" ]] && ip -n "$(ns sw)" link set "$a-$b" down
    done <"$(S)/links"
    for ((i = 0; i < 100; i++)); do
        p=$(pids_in_lab "$h")
        [[ -n $p ]] || break
        kill_in_lab KILL "$h"
        sleep 0.01
    done
    while read -r a b _; do
        if [[ $a == "$h" ]]; then
            ip -n "$(ns sw)" link del "$a-$b" 2>/dev/null || :
        fi
    done <"$(S)/links"
    sed -i "/^$h /d" "$(S)/links"
    ip netns del "$(ns "$h")"
    unlock
}

# ------------------------------------------------------------------- use ---
wait_port() {
    local h=$1 proto=$2 port=$3 secs=${4:-5} flag i
    case $proto in tcp) flag=-Hltn ;; udp) flag=-Hlun ;; *) die "wait-port: tcp or udp" ;; esac
    for ((i = 0; i < secs * 50; i++)); do
        in_ns "$h" ss "$flag" "sport = :$port" | grep -q . && return 0
        sleep 0.02
    done
    die "nothing listens on $proto $port in $h after $secs s"
}

status() {
    local f h
    printf 'lab %s owner %s\n' "$ID" "$(cat "$(S)/owner" 2>/dev/null || echo -)"
    for f in "$NSDIR/nl-$ID-"*; do
        [[ -e $f ]] || continue
        h=${f##*-}
        printf '%-10s pids: %s\n' "$h" "$(pids_in_lab "$h" | tr '\n' ' ')"
        ip -n "$(ns "$h")" -br addr | sed 's/^/    /'
    done
}

list() {
    local f
    for f in "$STATE"/*/; do
        [[ -e $f ]] && basename "$f"
    done
    # names without state (state directory lost) count as labs too
    for f in "$NSDIR"/nl-*-sw; do
        [[ -e $f ]] || continue
        f=${f##*/nl-}
        f=${f%-sw}
        [[ -d $STATE/$f ]] || echo "$f"
    done
    return 0
}

gc() {
    local id o
    for id in $(list); do
        o=$(cat "$STATE/$id/owner" 2>/dev/null || :)
        if [[ -n $o ]] && ! kill -0 "$o" 2>/dev/null; then
            "$SELF" -i "$id" down
            echo "$id"
        fi
    done
    for o in "$STATE"/*.lock; do # of a builder that was killed at once
        id=${o##*/}
        id=${id%.lock}
        [[ ! -e $o || -d $STATE/$id ]] || "$SELF" -i "$id" down
    done
}

# --------------------------------------------------------------- sandbox ---
# bash -> setpriv (dies with bash) -> unshare -> pid 1 of a pid namespace.
# Whatever is killed, and however, the pid namespace dies, and with it every
# process, every mount of a namespace name and so every namespace.
sandbox() {
    local user=() child rc=0
    if [[ ${1:-} == --user ]]; then
        user=(--user --map-root-user)
        shift
    fi
    [[ ${1:-} == -- ]] && shift
    (($#)) || die "sandbox: no command"
    set -m # own process group, and no ignored SIGINT, for the child
    setpriv --pdeathsig KILL unshare "${user[@]}" --mount --net --pid --fork \
        --kill-child=KILL --mount-proc "$SELF" __inner "$@" <&0 &
    child=$!
    set +m
    trap 'kill -KILL -- "-$child" 2>/dev/null; wait "$child" 2>/dev/null; exit 130' INT
    trap 'kill -KILL -- "-$child" 2>/dev/null; wait "$child" 2>/dev/null; exit 143' TERM HUP
    wait "$child" || rc=$?
    exit "$rc"
}
inner() {
    mount -t tmpfs tmpfs /run
    mkdir -p /run/netns /run/lock
    mount --bind /run/netns /run/netns
    mount --make-shared /run/netns
    ip link set lo up
    unset NETLAB_STATE NETLAB_ID
    # not exec: pid 1 must reap, and must not be CMD itself
    "$@"
}

# ----------------------------------------------------------------- check ---
usable() {
    local t
    for t in ip nsenter setpriv flock ss find stat; do
        command -v "$t" >/dev/null || die "$t is not installed"
    done
    ID=$(new_id)
    ip netns add "$(ns chk)" || die "namespaces cannot be made here (root? sandbox --user?)"
    trap 'ip netns del "$(ns chk)"' EXIT
    ip -n "$(ns chk)" link add v0 type veth peer name v1 || die "no veth in this kernel"
    ip -n "$(ns chk)" link add b0 type bridge || die "no bridge in this kernel"
}
# ------------------------------------------------------------------ main ---
while getopts ":i:o:" opt; do
    case $opt in
    i) ID=$OPTARG ;;
    o) OWNER=$OPTARG ;;
    *) die "unknown option -$OPTARG" ;;
    esac
done
shift $((OPTIND - 1))
[[ -z $ID || $ID =~ ^[A-Za-z0-9_]{1,20}$ ]] || die "bad lab id '$ID'"
cmd=${1:-help}
(($#)) && shift
case $cmd in
lan) plan=$(plan_lan "$@"); build <<<"$plan" ;;
twolan) build < <(plan_twolan) ;;
build) if (($#)); then build <"$1"; else build; fi ;;
down) down "$@" ;;
gc) gc ;;
list) list ;;
usable) usable ;;
sandbox) sandbox "$@" ;;
__inner) inner "$@" ;;
help | -h | --help) sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "$SELF" ;;
*)
    need_id
    [[ -e $(S)/ready ]] || die "there is no lab $ID"
    case $cmd in
    exec)
        h=${1:?exec HOST CMD}
        shift
        (($#)) || die "exec: no command"
        need_host "$h"
        exec nsenter --net="$NSDIR/$(ns "$h")" -- "$@"
        ;;
    wait-port) wait_port "$@" ;;
    status) status ;;
    vanish) vanish "$@" ;;
    *) die "unknown command '$cmd' (netlab.sh help)" ;;
    esac
    ;;
esac
