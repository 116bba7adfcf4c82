#!/usr/bin/env python3
"""How much of a download is left beside a flood of unfinished handshakes (bogus first flights, each hung up on after the answer).

    flood.py [SIZE_IN_MIB [FLIGHTS_A_SECOND [ROUNDS]]]      384, 2000 and 5 unless said

A ds-peer in a network namespace of its own is asked over a virtual cable by a ds-peer and by strangers with 14 addresses: loopback is exempt from
what is measured here. The attacked node has one processor, everybody else the other one. Rounds alternate: the flood goes to the node, or to a program beside it
that takes connections and says nothing, so that its sender costs the same in both. Prints the rates of each round and the median of their ratio; also what
800 sessions with one key cost the node, where `target/independent` is (see .ci/run).

Needs root, `ip` and a release build.
"""
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEER = os.path.join(ROOT, "target/release/ds-peer")
PORT, SINK = 9000, 9001
ADDRESSES = 14


def ip(*args):
    subprocess.run(["ip", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def sink():
    """Takes and drops connections, for the rounds without an attack."""
    listener = socket.create_server(("", SINK), backlog=4096)
    while True:
        listener.accept()[0].close()


def flight():
    """A preamble of an open node and any key: docs/PROTOCOL.md, sections 2 and 3."""
    return bytes.fromhex(FLIGHT) + b"\x20\x00" + os.urandom(32)


def flood(port, rate):
    """Until it is ended; prints how many were begun each second."""
    poll, waiting, begun = select.epoll(), {}, 0
    start = time.monotonic()
    first, stop = flight(), []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    while not stop:
        due = int((time.monotonic() - start) * rate)
        for _ in range(min(due - begun, 200)):
            conn = socket.socket()
            conn.setblocking(False)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.bind((f"10.66.0.{10 + begun % ADDRESSES}", 0))
            conn.connect_ex(("10.66.0.1", port))
            poll.register(conn, select.EPOLLOUT)
            waiting[conn.fileno()] = conn
            begun += 1
        for number, event in poll.poll(0.001):
            conn = waiting[number]
            if event & select.EPOLLOUT and not event & (select.EPOLLERR | select.EPOLLHUP):
                try:
                    conn.send(first)
                    poll.modify(conn, select.EPOLLIN)
                    continue
                except OSError:
                    pass
            del waiting[number]
            poll.unregister(conn)
            conn.close()
    print(begun / (time.monotonic() - start))


def in_space(space, processor, *command, **more):
    return subprocess.Popen(["ip", "netns", "exec", space, "taskset", "-c", str(processor), *command], **more)


def cpu_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def download(place, name, size, target, rate):
    """MB/s with the flood at port `target`."""
    me = os.path.abspath(__file__)
    attack = in_space("ds-there", 1, sys.executable, me, "flood", str(target), str(rate), stdout=subprocess.PIPE)
    time.sleep(1)
    taker = os.path.join(place, name)
    os.makedirs(os.path.join(taker, "shared"))
    peer = [PEER, "9100", "--shared", os.path.join(taker, "shared"), "--state", os.path.join(taker, "state")]
    get = [sys.executable, "-c", GETTER, f"10.66.0.1 {PORT}", *peer]
    text = in_space("ds-there", 1, *get, stdout=subprocess.PIPE, text=True, cwd=taker).communicate(timeout=300)[0]
    attack.terminate()
    begun = float(attack.communicate()[0])
    if begun < rate * 0.9:
        print(f"only {begun:.0f} flights a second could be made")
    shutil.rmtree(taker)
    return size * 1.048576 / float(text)


GETTER = """
import json, subprocess, sys, time
start = time.perf_counter()
peer = subprocess.Popen([*sys.argv[2:], "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
peer.stdin.write(f"get {sys.argv[1]} large\\n".encode())
peer.stdin.close()
took = None
for line in peer.stdout:
    event = json.loads(line)
    if event["event"] == "error":
        sys.exit(line.decode())
    if event["event"] == "downloaded":
        took = time.perf_counter() - start
peer.wait()
print(took)
"""


def one_key(node, times=800):
    """Milliseconds of the node's CPU for each of so many sessions with one key."""
    python = os.path.join(ROOT, "target/independent/bin/python3")
    if not os.path.exists(python):
        return None
    code = f"""
import sys
sys.path.insert(0, {os.path.join(ROOT, "tests/independent")!r})
import collections
import v2client
held = collections.deque(maxlen=8)  # the node ends all but the last four
for _ in range({times}):
    held.append(v2client.Session("10.66.0.1", {PORT}, static=b"k" * 32))
"""
    before = cpu_of(node)
    subprocess.run(["ip", "netns", "exec", "ds-there", python, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return (cpu_of(node) - before) / times * 1000


def preamble():
    """Of an open node; made by the library of the independent client, or none is at hand."""
    python = os.path.join(ROOT, "target/independent/bin/python3")
    code = f"import sys; sys.path.insert(0, {os.path.join(ROOT, 'tests/independent')!r}); import v2client; print(v2client.preamble(None).hex())"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def main(size=384, rate=2000, rounds=5):
    place = tempfile.mkdtemp(prefix="ds-flood-", dir="/dev/shm")
    spaces = ["ds-here", "ds-there"]
    running = []
    try:
        os.environ["DS_FLIGHT"] = preamble()
        for space in spaces:
            ip("netns", "add", space)
        ip("link", "add", "ds0", "netns", "ds-here", "type", "veth", "peer", "name", "ds0", "netns", "ds-there")
        for space in spaces:
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "ds0", "up")
        ip("-n", "ds-here", "addr", "add", "10.66.0.1/24", "dev", "ds0")
        for n in [2, *range(10, 10 + ADDRESSES)]:
            ip("-n", "ds-there", "addr", "add", f"10.66.0.{n}/24", "dev", "ds0")
        shared = os.path.join(place, "shared")
        os.makedirs(shared)
        with open(os.path.join(shared, "large"), "wb") as file:
            for _ in range(size):
                file.write(os.urandom(1 << 20))
        log = open(os.path.join(place, "log"), "wb")
        command = [PEER, str(PORT), "--shared", shared, "--state", os.path.join(place, "state"), "--daemon"]
        running.append(in_space("ds-here", 0, *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place))
        running.append(in_space("ds-here", 1, sys.executable, os.path.abspath(__file__), "sink", stdout=log, stderr=log))
        time.sleep(2 + size / 300)
        ratios = []
        for n in range(rounds):
            alone = download(place, f"alone{n}", size, SINK, rate)
            beside = download(place, f"beside{n}", size, PORT, rate)
            ratios.append(beside / alone)
            print(f"round {n + 1}: {alone:.0f} MB/s, beside the flood {beside:.0f}: {ratios[-1]:.2f}", flush=True)
        print(f"left beside {rate} bogus flights a second of {ADDRESSES} addresses: {statistics.median(ratios):.2f}")
        print(f"sessions with one key: {one_key(running[0].pid):.2f} ms of the node's CPU each, 800 of them")
    finally:
        for process in running:
            process.kill()
            process.wait()
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    FLIGHT = os.environ.get("DS_FLIGHT", "")
    if sys.argv[1:2] == ["flood"]:
        flood(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:] == ["sink"]:
        sink()
    else:
        main(*map(int, sys.argv[1:]))
