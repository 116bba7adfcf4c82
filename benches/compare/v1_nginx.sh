#!/usr/bin/env bash
# A v1 download served by ds-peer beside the same file served by nginx with sendfile: throughput, and CPU seconds per GB
# of the serving process. The receiver is the same loop for both, rounds alternate, files lie in memory, everything is on
# 127.0.0.1.
#
#   v1_nginx.sh [SIZE_IN_MIB [ROUNDS]]      1024 and 5 unless said
#
# DS_V1_SERVER is another server to measure, as a command line in which {port}, {shared} and {state} are put in, e.g.
#   DS_V1_SERVER='python3 tests/original/peer.py serve --port {port} --shared {shared}' benches/compare/v1_nginx.sh 64 3
# DS_V1_NAME names it in the table.
set -euo pipefail

mib=${1:-1024}
rounds=${2:-5}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
name=${DS_V1_NAME:-ds-peer}

die() { printf 'v1_nginx.sh: %s\n' "$*" >&2; exit 1; }
[[ $mib =~ ^[1-9][0-9]*$ && $rounds =~ ^[1-9][0-9]*$ ]] || die "usage: v1_nginx.sh [SIZE_IN_MIB [ROUNDS]]"
command -v python3 >/dev/null || die 'python3 is missing: install the package python3'
command -v nginx >/dev/null || die 'nginx is missing: install the package nginx-light (or nginx)'

# The file and its copy, and some air.
need=$((2 * mib + 64))
free=$(df --output=avail -m /dev/shm | tail -n 1 | tr -d ' ')
((free >= need)) || die "/dev/shm has $free MiB free, $need are needed: give a smaller size"

work=$(mktemp -d /dev/shm/distrishare-compare.XXXXXX)
servers=()
finish() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || :; done
    for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null || :; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

receive() { python3 "$here/receive.py" "$@"; }

mkdir "$work/shared" "$work/nginx" "$work/state" "$work/downloads"
head -c "$((mib << 20))" /dev/urandom >"$work/shared/file.bin"
cp "$work/shared/file.bin" "$work/target"
mapfile -t port < <(receive ports 2)

if [[ -n ${DS_V1_SERVER:-} ]]; then
    line=${DS_V1_SERVER//\{port\}/${port[0]}}
    line=${line//\{shared\}/$work/shared}
    read -ra server <<<"${line//\{state\}/$work/state}"
else
    (cd "$root" && cargo build --release --locked --quiet --bin ds-peer)
    server=("${CARGO_TARGET_DIR:-$root/target}/release/ds-peer" 127.0.0.1 "${port[0]}" --shared "$work/shared"
        --downloads "$work/downloads" --state "$work/state" --daemon --log-level warn)
fi
"${server[@]}" </dev/null >"$work/server.log" 2>&1 &
servers+=($!)

user=
((EUID)) || user='user root;'
cat >"$work/nginx/nginx.conf" <<END
$user
daemon off; worker_processes 1; pid $work/nginx/pid; error_log $work/nginx/error.log;
events { worker_connections 64; }
http {
    access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
    client_body_temp_path $work/nginx/b; proxy_temp_path $work/nginx/p; fastcgi_temp_path $work/nginx/f;
    uwsgi_temp_path $work/nginx/u; scgi_temp_path $work/nginx/s;
    server { listen 127.0.0.1:${port[1]}; root $work/shared; }
}
END
nginx -c "$work/nginx/nginx.conf" -p "$work/nginx" -e "$work/nginx/error.log" </dev/null >"$work/nginx.log" 2>&1 &
servers+=($!)

show() { sed 's/^/  /' "$@" >&2 2>/dev/null || :; }
receive wait "${port[0]}" || { show "$work/server.log"; die "the server did not start: ${server[*]}"; }
receive wait "${port[1]}" || { show "$work/nginx.log" "$work/nginx/error.log"; die 'nginx did not start'; }

# CPU seconds that a process and all its children spent so far: from the scheduler where it tells (in nanoseconds), else
# in ticks of the clock, of which a short round has too few.
hertz=$(getconf CLK_TCK)
spent() {
    local sum=0 unit=1000000000 pid stat fields
    for pid in "$1" $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        if [[ -r /proc/$pid/schedstat ]]; then
            read -ra fields <"/proc/$pid/schedstat"
            sum=$((sum + fields[0]))
        else
            unit=$hertz
            stat=$(<"/proc/$pid/stat")
            # The name may hold blanks; after its bracket utime and stime are the 12th and 13th word.
            read -ra fields <<<"${stat##*) }"
            sum=$((sum + fields[11] + fields[12]))
        fi
    done
    echo "$sum / $unit"
}

# measure ROUND NAME KIND PORT PID
measure() {
    local before after got seconds
    before=$(spent "$5")
    read -r got seconds < <(receive "$3" "$4" file.bin "$work/target")
    after=$(spent "$5")
    [[ ${got:-0} == $((mib << 20)) ]] || die "$2 sent ${got:-no} bytes of $((mib << 20))"
    if (($1 == 0)); then # not counted: it warms up, and it is compared
        cmp -s "$work/shared/file.bin" "$work/target" || die "$2 sent other bytes"
    else
        printf '%s %s %s %s\n' "$1" "$2" "$seconds" \
            "$(python3 -c "print($after - $before)")" >>"$work/rounds"
    fi
}
ours() { measure "$1" "$name" v1 "${port[0]}" "${servers[0]}"; }
theirs() { measure "$1" nginx http "${port[1]}" "${servers[1]}"; }

for ((round = 0; round <= rounds; round++)); do
    if ((round % 2)); then ours "$round" && theirs "$round"; else theirs "$round" && ours "$round"; fi
done

printf '%s MiB, %s rounds, %s, %s cores, congestion control %s, %s\n' "$mib" "$rounds" "$(nginx -v 2>&1)" "$(nproc)" \
    "$(cat /proc/sys/net/ipv4/tcp_congestion_control)" "Linux $(uname -r)"
receive table "$((mib << 20))" "$work/rounds" "$name" nginx
