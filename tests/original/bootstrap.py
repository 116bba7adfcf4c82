#!/usr/bin/env python3
"""The original's registry, as a model for tests: never forgets a node, keeps none over a restart.

    bootstrap.py [PORT] [--host IP]      PORT 0 lets the kernel choose; prints `ready IP PORT`
"""

import argparse
import json
import socket
import threading

from wire import CHUNK, say


def serve(conn, nodes, lock):
    """One request, one answer, close. Any other type, or what is no JSON, is closed without a word."""
    with conn:
        try:
            request = json.loads(conn.recv(CHUNK).decode())
            if request["type"] != "register":
                return
            node = (request["ip"], request["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        with lock:
            if node not in nodes:
                nodes.append(node)
            answer = json.dumps({"nodes": nodes})
        say("registered", *node)
        try:
            conn.sendall(answer.encode())
        except OSError:
            pass


def main():
    args = argparse.ArgumentParser(description="model of the original's registry")
    args.add_argument("port", type=int, nargs="?", default=8000)
    args.add_argument("--host", default="127.0.0.1")
    args = args.parse_args()
    nodes, lock = [], threading.Lock()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((args.host, args.port))
        listener.listen(128)
        say("ready", *listener.getsockname())
        while True:
            conn, _ = listener.accept()
            conn.settimeout(10)
            threading.Thread(target=serve, args=(conn, nodes, lock), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
