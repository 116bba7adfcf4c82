#!/usr/bin/env python3
"""How much memory a real ds-peer takes under attack: sessions that ask for all they may and read nothing.

    memory.py [LIMITS [SESSIONS]]      small and 110 unless said

3,000 files with long names are shared; each session has its own key and address (127.0.0.x), and sends searches and requests for lists until the
node takes no more. Prints the resident memory before, the highest within 20 s of the attack, and what is left 5 s after it. Needs
`target/independent` (see .ci/run) and a release build.
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEER = os.path.join(ROOT, "target/release/ds-peer")
PYTHON = os.path.join(ROOT, "target/independent/bin/python3")


def mib(pid, what):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def attack(port, sessions):
    sys.path.insert(0, os.path.join(ROOT, "tests/independent"))
    import v2client

    class From(socket.socket):
        """Its next connection comes from another address of this host."""

        count = 0

        def __init__(self, *args):
            super().__init__(*args)
            From.count += 1
            self.bind((f"127.0.1.{From.count % 250 + 1}", 0))

    def dial(address, timeout=None):
        conn = From(socket.AF_INET, socket.SOCK_STREAM)
        conn.settimeout(timeout)
        conn.connect(address)
        return conn

    v2client.socket.create_connection = dial
    held = []
    for _ in range(sessions):
        try:
            held.append(v2client.Session("127.0.0.1", port))
        except (v2client.Closed, OSError):
            pass
    print(f"{len(held)} sessions", flush=True)
    end = time.monotonic() + 20
    while held and time.monotonic() < end:
        for session in list(held):
            session.socket.setblocking(False)
            try:
                for _ in range(4):
                    session.ask(7, query="*", limit=256)
                    session.ask(11, limit=256)
            except BlockingIOError:
                pass
            except OSError:
                held.remove(session)
        time.sleep(0.05)
    print(f"{len(held)} of them at the end", flush=True)


def main(limits="small", sessions="110"):
    place = tempfile.mkdtemp(prefix="ds-memory-", dir="/dev/shm")
    try:
        shared = os.path.join(place, "shared")
        os.makedirs(shared)
        for n in range(3000):
            with open(os.path.join(shared, f"{n:04}" + "x" * 200), "w", encoding="ascii") as file:
                file.write(str(n))
        probe = socket.create_server(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [PEER, "127.0.0.1", str(port), "--shared", shared, "--state", os.path.join(place, "state")]
        more = ["--limits", limits, "--daemon", "--log-level", "off"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        node = subprocess.Popen([*command, *more], cwd=place, **quiet)
        try:
            time.sleep(5)
            before = mib(node.pid, "VmRSS:")
            subprocess.run([PYTHON, os.path.abspath(__file__), "attack", str(port), sessions], check=True)
            highest = mib(node.pid, "VmHWM:")
            time.sleep(5)
            print(f"{limits}: {before:.1f} MiB before, {highest:.1f} at most, {mib(node.pid, 'VmRSS:'):.1f} afterwards")
        finally:
            node.kill()
            node.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        attack(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*sys.argv[1:])
