#!/usr/bin/env python3
"""A file from ds-peer to ds-peer over v2, this tree beside an earlier commit of it: throughput and CPU of both ends, and their
ratios within a round. Rounds alternate who begins, each receiver is started anew, files lie in memory, everything is on 127.0.0.1.
Builds both; the earlier one in `target/earlier/COMMIT`.

    earlier.py COMMIT [SIZE_IN_MIB [ROUNDS]]      512 and 15 unless said
"""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

from four_sources import ROOT, free_ports, wait_for
from peer import rates

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["now", "earlier"]


def build(tree, target):
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--bin", "ds-peer"]
    subprocess.run(command, cwd=tree, env={**os.environ, "CARGO_TARGET_DIR": target}, check=True)
    return os.path.join(target, "release/ds-peer")


def build_earlier(commit):
    """In a copy: the tree stays as it is."""
    asked = ["git", "rev-parse", "--verify", commit + "^{commit}"]
    found = subprocess.run(asked, cwd=ROOT, check=False, capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(f"earlier.py: no commit {commit}: {found.stderr.strip()}")
    sha = found.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="ds-earlier-") as tree:
        archive = subprocess.Popen(["git", "archive", sha], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)
        if archive.wait() != 0:
            sys.exit(f"git has no files of {commit}")
        return build(tree, os.path.join(ROOT, "target/earlier", sha[:12]))


def spent(pid):
    """CPU seconds so far."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as stat:
        return int(stat.read().split()[0]) / 1e9


@contextlib.contextmanager
def sender(program, work, name, shared):
    (port,) = free_ports(1)
    command = [program, "127.0.0.1", str(port), "--shared", shared, "--downloads", f"{work}/none"]
    command += ["--state", f"{work}/{name}", "--daemon", "--log-level", "off"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    try:
        wait_for(port)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def receive(program, work, name, port):
    """Seconds from its start to the saved file, and the CPU seconds of its whole life."""
    command = [sys.executable, f"{HERE}/peer.py", "get", str(port), "file.bin", "--", program, "127.0.0.1", "0"]
    command += ["--shared", f"{work}/none", "--downloads", f"{work}/downloads", "--state", f"{work}/to-{name}"]
    said = subprocess.run([*command, "--log-level", "off"], check=True, capture_output=True, text=True)
    os.remove(f"{work}/downloads/file.bin")
    return [float(value) for value in said.stdout.split()]


def main(commit, mib="512", rounds="15"):
    programs = dict(zip(NAMES, [build(ROOT, os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target")), build_earlier(commit)]))
    size = int(mib) << 20
    work = tempfile.mkdtemp(prefix="ds-earlier-", dir="/dev/shm")
    try:
        for folder in ("shared", "none", "downloads"):
            os.makedirs(f"{work}/{folder}")
        with open(f"{work}/shared/file.bin", "wb") as file:
            for _ in range(int(mib)):
                file.write(os.urandom(1 << 20))
        with contextlib.ExitStack() as stack:
            senders = {}
            for name in NAMES:
                senders[name] = stack.enter_context(sender(programs[name], work, name, f"{work}/shared"))
            # Round 0 is not counted: it warms up, and waits until the file is hashed.
            for number in range(int(rounds) + 1):
                for name in NAMES if number % 2 else reversed(NAMES):
                    pid, port = senders[name]
                    before = spent(pid)
                    seconds, receiver = receive(programs[name], work, name, port)
                    if number > 0:
                        with open(f"{work}/rounds", "a", encoding="ascii") as file:
                            print(number, name, seconds, spent(pid) - before, receiver, file=file)
                    time.sleep(0.1)
        print(f"{mib} MiB, {rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; earlier: {commit}")
        rates(size, f"{work}/rounds", *NAMES)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4 or sys.argv[1].startswith("-") or not all(n.isdecimal() and int(n) for n in sys.argv[2:]):
        sys.exit(__doc__)
    main(*sys.argv[1:])
