#!/usr/bin/env bash
# How fast ds-peer hashes a file that it shares, from its start until its index has the root, beside `b3sum` on the same
# file with one thread: as b3sum does it by itself (it maps the file), and with reads. Wall time and CPU time, rounds
# alternate, the file lies in memory and has been read before.
#
#   index_b3sum.sh [SIZE_IN_MIB [ROUNDS]]      2048 and 5 unless said
#
# b3sum is taken from the path, or installed into a temporary folder with cargo.
set -euo pipefail

mib=${1:-2048}
rounds=${2:-5}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

die() { printf 'index_b3sum.sh: %s\n' "$*" >&2; exit 1; }
[[ $mib =~ ^[1-9][0-9]*$ && $rounds =~ ^[1-9][0-9]*$ ]] || die "usage: index_b3sum.sh [SIZE_IN_MIB [ROUNDS]]"
command -v python3 >/dev/null || die 'python3 is missing: install the package python3'
need=$((mib + 64))
free=$(df --output=avail -m /dev/shm | tail -n 1 | tr -d ' ')
((free >= need)) || die "/dev/shm has $free MiB free, $need are needed: give a smaller size"

work=$(mktemp -d /dev/shm/distrishare-index.XXXXXX)
tools=
trap 'rm -rf "$work" "$tools"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

b3sum=$(command -v b3sum) || {
    tools=$(mktemp -d)
    cargo install b3sum --root "$tools" --quiet || die 'b3sum is missing and could not be installed: cargo install b3sum'
    b3sum=$tools/bin/b3sum
}
(cd "$root" && cargo build --release --locked --quiet --bin ds-peer)
peer=${CARGO_TARGET_DIR:-$root/target}/release/ds-peer

mkdir "$work/shared" "$work/downloads"
head -c "$((mib << 20))" /dev/urandom >"$work/shared/file.bin"

measure() { python3 "$here/peer.py" "$@"; }
ours() {
    rm -rf "$work/state" # else it knows the root already
    measure hash "$((mib << 20))" -- "$peer" 127.0.0.1 0 --shared "$work/shared" --downloads "$work/downloads" \
        --state "$work/state" --log-level error
}
mapped() { measure run -- "$b3sum" --num-threads 1 "$work/shared/file.bin"; }
read_() { measure run -- "$b3sum" --num-threads 1 --no-mmap "$work/shared/file.bin"; }

names=(ds-peer b3sum b3sum-no-mmap)
programs=(ours mapped read_)
for ((round = 0; round <= rounds; round++)); do
    for ((i = 0; i < 3; i++)); do
        which=$(((round + i) % 3))
        line=$(${programs[which]})
        # The first round is not counted: it warms up.
        ((round == 0)) || printf '%s %s %s\n' "$round" "${names[which]}" "$line" >>"$work/rounds"
    done
done

printf '%s MiB, %s rounds, %s, %s cores, load %s, %s\n' "$mib" "$rounds" "$("$b3sum" --version)" "$(nproc)" \
    "$(cut -d ' ' -f 1 /proc/loadavg)" "Linux $(uname -r)"
measure rates "$((mib << 20))" "$work/rounds" "${names[@]}"
