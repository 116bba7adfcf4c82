#!/usr/bin/env python3
"""Runs ds-peer, or what it is compared with, and tells the time and the CPU time that the whole process took.

    peer.py run -- COMMAND...             prints `SECONDS CPU_SECONDS`
    peer.py hash SIZE -- PEER...          the same of a ds-peer, from its start until its index has hashed SIZE bytes
    peer.py get PORT NAME -- PEER...      the same of one that downloads NAME, until the file is saved; CPU to its end
    peer.py rates SIZE FILE NAME...       the lines `ROUND NAME SECONDS CPU...` of FILE as a table: medians of each NAME,
                                          and of the first NAME's ratio to each other within a round
"""

import json
import os
import statistics
import subprocess
import sys
import time

ASK_EVERY = 0.005


def end_of(process):
    """Waits; CPU seconds of the process and the children that it waited for."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{process.args[0]}: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def run(command):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    took = time.perf_counter() - start
    print(f"{took:.6f} {end_of(process):.6f}")


def start_peer(command):
    """What goes wrong it says in JSON; the rest is for people."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, "--json"], **pipes)


def events(process):
    """What it says, until it ends."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "error":
            sys.exit(line.decode(errors="replace"))
        yield event


def hash_file(size, command):
    """Asks for its status again and again: a hundredth of a percent of what hashing costs."""
    start = time.perf_counter()
    process = start_peer(command)
    for event in events(process):
        if event["event"] == "status" and event["index"]["hashed_bytes"] >= int(size) and event["index"]["hashed_files"]:
            break
        if event["event"] in ("ready", "status"):
            time.sleep(ASK_EVERY)
            process.stdin.write(b"status\n")
            process.stdin.flush()
    took = time.perf_counter() - start
    process.stdin.close()
    print(f"{took:.6f} {end_of(process):.6f}")


def get(port, name, command):
    start = time.perf_counter()
    process = start_peer(command)
    process.stdin.write(f"get 127.0.0.1 {port} {name}\n".encode())
    process.stdin.close()
    took, verified = None, False
    for event in events(process):
        if event["event"] == "downloaded":
            took, verified = time.perf_counter() - start, event.get("verified", False)
    if took is None or not verified:
        sys.exit("nothing verified was downloaded")
    print(f"{took:.6f} {end_of(process):.6f}")


def rates(size, file, *names):
    gigabytes = int(size) / 1e9
    rounds = {}
    with open(file, encoding="ascii") as lines:
        for line in lines:
            number, name, *values = line.split()
            rounds.setdefault(number, {})[name] = [float(value) for value in values]
    count = len(next(iter(rounds.values()))[names[0]]) - 1
    titles = ["CPU s/GB"] if count == 1 else ["sender s/GB", "receiver s/GB"]
    print(f"{'':<18} {'GB/s':>8} " + " ".join(f"{title:>14}" for title in titles))
    for name in names:
        speed = statistics.median(gigabytes / r[name][0] for r in rounds.values())
        cpu = [statistics.median(r[name][1 + i] / gigabytes for r in rounds.values()) for i in range(count)]
        print(f"{name:<18} {speed:>8.3f} " + " ".join(f"{value:>14.3f}" for value in cpu))
    ours = names[0]
    for other in names[1:]:
        kinds = [("throughput", [r[other][0] / r[ours][0] for r in rounds.values()])]
        kinds.append(("CPU of all ends", [sum(r[ours][1:]) / sum(r[other][1:]) for r in rounds.values()]))
        for title, ratios in kinds:
            low, mid, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f"{title}, {ours} / {other}: median {mid:.2f} (from {low:.2f} to {high:.2f}, {len(ratios)} rounds)")


def main(arguments):
    command, *rest = arguments
    if "--" in rest:
        cut = rest.index("--")
        rest, program = rest[:cut], rest[cut + 1 :]
    commands = {
        "run": lambda: run(program),
        "hash": lambda: hash_file(*rest, program),
        "get": lambda: get(*rest, program),
        "rates": lambda: rates(*rest),
    }
    commands[command]()


if __name__ == "__main__":
    main(sys.argv[1:])
