#!/usr/bin/env bash
# A file from ds-peer to ds-peer over v2, sealed and verified, beside nginx and `curl -o` in clear and with TLS 1.3: file to
# file, throughput and CPU seconds per GB at both ends. A round starts each receiver anew (its handshake is in the time)
# and gives it no file to overwrite; rounds alternate, files lie in memory, everything is on 127.0.0.1.
#
#   v2_nginx.sh [SIZE_IN_MIB [ROUNDS]]      1024 and 5 unless said
set -euo pipefail

mib=${1:-1024}
rounds=${2:-5}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

die() { printf 'v2_nginx.sh: %s\n' "$*" >&2; exit 1; }
[[ $mib =~ ^[1-9][0-9]*$ && $rounds =~ ^[1-9][0-9]*$ ]] || die "usage: v2_nginx.sh [SIZE_IN_MIB [ROUNDS]]"
for program in python3 nginx curl openssl; do
    command -v "$program" >/dev/null || die "$program is missing: install the package ${program/%nginx/nginx-light}"
done

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
measure() { python3 "$here/peer.py" "$@"; }

(cd "$root" && cargo build --release --locked --quiet --bin ds-peer)
peer=${CARGO_TARGET_DIR:-$root/target}/release/ds-peer

mkdir "$work/shared" "$work/nginx" "$work/none" "$work/downloads"
head -c "$((mib << 20))" /dev/urandom >"$work/shared/file.bin"
mapfile -t port < <(receive ports 3)

"$peer" 127.0.0.1 "${port[0]}" --shared "$work/shared" --downloads "$work/none" --state "$work/state" --daemon \
    --log-level warn </dev/null >"$work/server.log" 2>&1 &
servers+=($!)

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work/nginx/key.pem" -out "$work/nginx/cert.pem" 2>"$work/openssl.log" || {
    cat "$work/openssl.log" >&2
    die 'openssl could not make a certificate'
}
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
    server {
        listen 127.0.0.1:${port[2]} ssl; root $work/shared;
        ssl_certificate $work/nginx/cert.pem; ssl_certificate_key $work/nginx/key.pem; ssl_protocols TLSv1.3;
    }
}
END
nginx -c "$work/nginx/nginx.conf" -p "$work/nginx" -e "$work/nginx/error.log" </dev/null >"$work/nginx.log" 2>&1 &
servers+=($!)

show() { sed 's/^/  /' "$@" >&2 2>/dev/null || :; }
receive wait "${port[0]}" || { show "$work/server.log"; die 'ds-peer did not start'; }
for p in "${port[@]:1}"; do
    receive wait "$p" || { show "$work/nginx.log" "$work/nginx/error.log"; die 'nginx did not start'; }
done

# CPU seconds that a process and all its children spent so far: from the scheduler where it tells, else in ticks.
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

sealed() {
    # Nothing is shared by this one; its key stays, so it is the same node each time.
    measure get "${port[0]}" file.bin -- "$peer" 127.0.0.1 0 --shared "$work/none" --downloads "$work/downloads" \
        --state "$work/receiver" --log-level error
}
clear() { measure run -- curl -sS -o "$work/downloads/file.bin" "http://127.0.0.1:${port[1]}/file.bin"; }
tls() { measure run -- curl -sS -k -o "$work/downloads/file.bin" "https://127.0.0.1:${port[2]}/file.bin"; }

names=(ds-peer-v2 nginx nginx-TLS-1.3)
programs=(sealed clear tls)
senders=("${servers[0]}" "${servers[1]}" "${servers[1]}")
for ((round = 0; round <= rounds; round++)); do
    for ((i = 0; i < 3; i++)); do
        which=$(((round + i) % 3))
        rm -f "$work/downloads/"*.bin
        before=$(spent "${senders[which]}")
        read -r seconds receiver < <(${programs[which]}) || die "${names[which]} failed"
        after=$(spent "${senders[which]}")
        if ((round == 0)); then # not counted: it warms up, the sender has hashed the file then, and it is compared
            cmp -s "$work/shared/file.bin" "$work/downloads/file.bin" || die "${names[which]} sent other bytes"
        else
            sender=$(python3 -c "print($after - $before)")
            printf '%s %s %s %s %s\n' "$round" "${names[which]}" "$seconds" "$sender" "$receiver" >>"$work/rounds"
        fi
    done
done

printf '%s MiB, %s rounds, %s, %s, %s cores, load %s, congestion control %s, %s\n' "$mib" "$rounds" \
    "$(nginx -v 2>&1)" "$(curl --version | head -n 1 | cut -d ' ' -f 1,2)" "$(nproc)" \
    "$(cut -d ' ' -f 1 /proc/loadavg)" "$(cat /proc/sys/net/ipv4/tcp_congestion_control)" "Linux $(uname -r)"
measure rates "$((mib << 20))" "$work/rounds" "${names[@]}"
