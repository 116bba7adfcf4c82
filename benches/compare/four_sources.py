#!/usr/bin/env python3
"""A file from four ds-peer at once, each of which sends 20 MB a second at most (--limit-up), to one ds-peer: how much of the
80 MB/s arrives, from the line typed to the saved file. Everything is on 127.0.0.1 and in memory.

    four_sources.py [SIZE_IN_MIB [ROUNDS]]      256 and 3 unless said
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SOURCES = 4
RATE = 20_000_000
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(port):
    for _ in range(200):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nobody listens on port {port}")


def told(process, event):
    """The next event of that name; its time."""
    for line in process.stdout:
        said = json.loads(line)
        if said["event"] == "error":
            sys.exit(said["message"])
        if said["event"] == event:
            return said, time.monotonic()
    sys.exit(f"ds-peer ended without {event}")


def type_line(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()


def one_round(peer, work, registry, number):
    (port,) = free_ports(1)
    place = os.path.join(work, f"to{number}")
    for folder in ("shared", "downloads"):
        os.makedirs(f"{place}/{folder}")
    args = [peer, "127.0.0.1", str(port), "--shared", f"{place}/shared", "--downloads", f"{place}/downloads"]
    args += ["--state", f"{place}/state", "--bootstrap", f"127.0.0.1:{registry}", "--join", "--json"]
    process = subprocess.Popen(
        args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    type_line(process, "search file.bin")
    found, _ = told(process, "result")
    told(process, "done")
    started = time.monotonic()
    type_line(process, "get 1")
    saved, ended = told(process, "downloaded")
    type_line(process, "quit")
    process.wait(10)
    shutil.rmtree(place)
    return len(found["sources"]), saved["sources"], saved["bytes"] / (ended - started) / 1e6


def main():
    mib, rounds = (int(arg) for arg in (sys.argv[1:] + ["256", "3"][len(sys.argv) - 1 :]))
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    programs = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")
    peer, bootstrap = (os.path.join(programs, name) for name in ("ds-peer", "ds-bootstrap"))
    work = tempfile.mkdtemp(prefix="distrishare-compare.", dir="/dev/shm")
    running = []
    try:
        content = os.urandom(mib << 20)
        registry, *ports = free_ports(1 + SOURCES)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        args = [bootstrap, "127.0.0.1", str(registry), "--state", f"{work}/registry"]
        running.append(subprocess.Popen(args, **quiet))
        wait_for(registry)
        for n, port in enumerate(ports):
            place = os.path.join(work, f"from{n}")
            for folder in ("shared", "downloads"):
                os.makedirs(f"{place}/{folder}")
            with open(f"{place}/shared/file.bin", "wb") as file:
                file.write(content)
            args = [peer, "127.0.0.1", str(port), "--shared", f"{place}/shared", "--state", f"{place}/state"]
            args += ["--downloads", f"{place}/downloads", "--bootstrap", f"127.0.0.1:{registry}", "--join"]
            running.append(subprocess.Popen(args + ["--daemon", "--limit-up", str(RATE)], **quiet))
            wait_for(port)
        time.sleep(2 + mib / 400)  # they hash it
        rates = []
        for number in range(rounds):
            found, gave, rate = one_round(peer, work, registry, number)
            rates.append(rate)
            print(f"{mib} MiB from {gave} of {found} sources: {rate:.1f} MB/s")
        full = SOURCES * RATE / 1e6
        median = sorted(rates)[len(rates) // 2]
        print(f"median {median:.1f} MB/s, {median / full:.3f} of {full:.0f} MB/s")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(5)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
