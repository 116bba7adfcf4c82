#!/usr/bin/env python3
"""The receiving end of a comparison: the same loop of recv and write whoever sends, so that only the senders differ.

    receive.py ports COUNT                    free ports on 127.0.0.1, one per line
    receive.py wait PORT                      until something listens there, at most 20 s
    receive.py v1 PORT NAME TARGET            a v1 download; prints `BYTES SECONDS`
    receive.py http PORT NAME TARGET          the same over HTTP/1.0
    receive.py table SIZE FILE NAME NAME      the lines `ROUND NAME SECONDS CPU_SECONDS` of FILE as a table

TARGET is overwritten without being cut first: fresh memory would cost more than what is measured.
"""

import json
import socket
import statistics
import sys
import time

RUN = 256 * 1024


def ports(count):
    """Asks the kernel, all at once so that none comes twice."""
    held = [socket.socket() for _ in range(int(count))]
    for sock in held:
        sock.bind(("127.0.0.1", 0))
        print(sock.getsockname()[1])
    for sock in held:
        sock.close()


def wait(port):
    """Dials until somebody answers."""
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"nothing listens on port {port}")
            time.sleep(0.02)


def receive(port, request, head, target):
    """Sends the request, drops the head of the answer if it has one, writes the rest."""
    buffer = memoryview(bytearray(RUN))
    total, rest = 0, b""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as conn, open(target, "r+b", 0) as out:
        conn.sendall(request)
        while head:
            part = conn.recv(4096)
            rest += part
            front, mark, body = rest.partition(b"\r\n\r\n")
            if mark:
                if b" 200 " not in front.split(b"\r\n")[0]:
                    sys.exit(front.decode(errors="replace"))
                out.write(body)
                total += len(body)
                break
            if not part:
                sys.exit("the answer has no head")
        while True:
            got = conn.recv_into(buffer)
            if not got:
                break
            out.write(buffer[:got])
            total += got
        out.truncate(total)
    print(total, f"{time.perf_counter() - start:.6f}")


def v1(port, name, target):
    """One JSON object; the answer is the file and nothing else."""
    request = {"type": "download", "filename": name, "secret": "distrishare2024"}
    receive(port, json.dumps(request).encode(), False, target)


def http(port, name, target):
    """The shortest request there is."""
    receive(port, f"GET /{name} HTTP/1.0\r\n\r\n".encode(), True, target)


def table(size, file, ours, theirs):
    """Medians, and the medians of the ratios within each round: those hold on a machine that others use, too."""
    gigabytes = int(size) / 1e9
    rounds = {}
    with open(file, encoding="ascii") as lines:
        for line in lines:
            number, name, seconds, cpu = line.split()
            rounds.setdefault(number, {})[name] = (float(seconds), float(cpu))
    print(f"{'sender':<10} {'MB/s':>8} {'CPU s/GB':>9}")
    for name in (ours, theirs):
        rate = statistics.median(1000 * gigabytes / r[name][0] for r in rounds.values())
        cpu = statistics.median(r[name][1] / gigabytes for r in rounds.values())
        print(f"{name:<10} {rate:>8.0f} {cpu:>9.3f}")
    speed = [r[theirs][0] / r[ours][0] for r in rounds.values()]
    # Where only ticks of 10 ms are counted, a file too small for one tick has no ratio.
    cpu = [r[ours][1] / r[theirs][1] for r in rounds.values() if r[theirs][1] > 0]
    for title, ratios in (("throughput", speed), ("sender CPU", cpu)):
        if ratios:
            low, mid, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f"{title}, {ours} / {theirs}: median {mid:.2f} (from {low:.2f} to {high:.2f}, {len(ratios)} rounds)")
        else:
            print(f"{title}: the file is too small to tell")


if __name__ == "__main__":
    commands = {"ports": ports, "wait": wait, "v1": v1, "http": http, "table": table}
    commands[sys.argv[1]](*sys.argv[2:])
