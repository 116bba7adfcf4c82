#!/usr/bin/env python3
"""The original's node, as a model for tests. Every subcommand prints lines that a program can read.

    peer.py register HOST PORT IP PORT     `node IP PORT` for each entry, then `done COUNT`
    peer.py search IP PORT NAME            `answer TEXT`
    peer.py download IP PORT NAME DIR      `saved PATH BYTES` or `error TEXT`
    peer.py probe IP PORT                  `alive` or `down`
    peer.py serve --shared DIR [...]       `ready IP PORT`, then `request TYPE NAME`, `hello IP PORT`, `goodbye IP PORT`

`serve` reads commands from its standard input: `nodes` prints `all|bootstrap|multicast IP PORT alive|down` for every
entry of the three lists and `done COUNT`; `quit` says GOODBYE and ends. The end of the input changes nothing.
A failed subcommand prints `error TEXT` and exits with 1.
"""

import argparse
import json
import os
import signal
import socket
import struct
import sys
import threading

import wire
from wire import CHUNK, HELLO_PERIOD, say


class Node:
    """A serving node: its folder, its three lists, its multicast threads."""

    def __init__(self, args):
        self.args = args
        self.port = args.port
        self.known, self.from_bootstrap, self.from_multicast = [], [], []
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def add(self, nodes, node):
        """Adds a node to a list and to the list of all; oneself is not a neighbour."""
        with self.lock:
            for entries in (nodes, self.known):
                if node not in entries and node != (self.args.ip, self.port):
                    entries.append(node)

    def answer(self, conn):
        """One request: a single recv, so a request in two segments is refused, as it is by the original."""
        with conn:
            try:
                data = conn.recv(CHUNK)
                if not data:
                    return
                self.reply(conn, data)
            except OSError:
                pass

    def reply(self, conn, data):
        """The texts come in the original's order: format, secret, type, file."""
        try:
            request = json.loads(data.decode())
            if not isinstance(request, dict) or not request:
                raise ValueError("not an object")
        except ValueError:
            conn.sendall(wire.BAD_JSON.encode())
            return
        kind, name = request.get("type"), request.get("filename")
        say("request", kind, json.dumps(name))
        if request.get("secret") != self.args.secret:
            conn.sendall(wire.BAD_SECRET.encode())
        elif kind not in ("search", "download") or not isinstance(name, str):
            conn.sendall(wire.BAD_TYPE.encode())
        else:
            # No check of the name: with `..` in it a file outside the folder is served.
            path = os.path.join(self.args.shared, name)
            found = os.path.isfile(path)
            if kind == "search":
                conn.sendall(b"FOUND" if found else b"NOT_FOUND")
            elif found:
                self.send(conn, path)
            else:
                conn.sendall(wire.NO_FILE.encode())

    @staticmethod
    def send(conn, path):
        """The file, a chunk at a time, and nothing else: no length, no mark at its end."""
        with open(path, "rb") as source:
            while True:
                chunk = source.read(CHUNK)
                if not chunk:
                    return
                conn.sendall(chunk)

    def group_socket(self):
        """The listener as the original makes it; `--iface` keeps a test away from real networks."""
        group = (self.args.group, self.args.group_port)
        iface = self.args.iface or "0.0.0.0"
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("0.0.0.0", group[1]))
        if self.args.iface:
            member = socket.inet_aton(group[0]) + socket.inet_aton(iface)
        else:
            member = struct.pack("4sl", socket.inet_aton(group[0]), socket.INADDR_ANY)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        return sock

    def announce(self, word):
        """One datagram by a socket of its own."""
        text = f"{word}:{self.args.ip}:{self.port}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            if self.args.iface:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(self.args.iface))
            sock.sendto(text.encode(), (self.args.group, self.args.group_port))

    def announcer(self):
        """HELLO at once and every period until told to stop."""
        while True:
            try:
                self.announce("HELLO")
            except OSError as error:
                say("multicast", "send-failed", error)
            if self.stop.wait(HELLO_PERIOD):
                return

    def listener(self, sock):
        """One byte that is not UTF-8 ends this thread for good, and with it all discovery of this node."""
        try:
            while not self.stop.is_set():
                data, _ = sock.recvfrom(1024)
                fields = data.decode("utf-8").split(":")
                if len(fields) != 3:
                    continue
                word, ip, port = fields[0], fields[1], int(fields[2])
                if (ip, port) == (self.args.ip, self.port):
                    continue
                if word == "HELLO":
                    fresh = (ip, port) not in self.from_multicast
                    self.add(self.from_multicast, (ip, port))
                    if fresh:
                        say("hello", ip, port)
                elif word == "GOODBYE":
                    with self.lock:
                        if (ip, port) in self.from_multicast:
                            self.from_multicast.remove((ip, port))
                    say("goodbye", ip, port)
        except (OSError, ValueError) as error:
            say("multicast", "ended", type(error).__name__)

    def show(self):
        """The three lists, each entry probed."""
        with self.lock:
            lists = [("all", list(self.known)), ("bootstrap", list(self.from_bootstrap))]
            lists.append(("multicast", list(self.from_multicast)))
        for title, nodes in lists:
            for ip, port in nodes:
                say(title, ip, port, "alive" if wire.probe(ip, port) else "down")
        say("done", sum(len(nodes) for _, nodes in lists))

    def console(self):
        """Commands from standard input; its end leaves the node running."""
        for line in sys.stdin:
            if line.strip() == "nodes":
                self.show()
            elif line.strip() == "quit":
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def run(self):
        """Serves until a signal comes."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.args.ip, self.port))
            listener.listen(128)
            self.port = listener.getsockname()[1]
            say("ready", self.args.ip, self.port)
            if self.args.bootstrap:
                host, port = self.args.bootstrap.rsplit(":", 1)
                nodes = wire.register(host, int(port), self.args.ip, self.port)
                for node in nodes:
                    self.add(self.from_bootstrap, node)
                say("bootstrap", len(nodes))
            if self.args.multicast:
                # One socket for both threads would do; the original has a socket for each.
                threading.Thread(target=self.listener, args=(self.group_socket(),), daemon=True).start()
                threading.Thread(target=self.announcer, daemon=True).start()
            threading.Thread(target=self.console, daemon=True).start()
            while True:
                conn, _ = listener.accept()
                conn.settimeout(30)
                threading.Thread(target=self.answer, args=(conn,), daemon=True).start()

    def end(self):
        """GOODBYE once, if HELLO was ever said."""
        self.stop.set()
        if self.args.multicast:
            try:
                self.announce("GOODBYE")
            except OSError as error:
                say("multicast", "send-failed", error)


def interrupt(_signal, _frame):
    """SIGTERM takes the same way out as ^C."""
    raise KeyboardInterrupt


def serve(args):
    """Runs a node until a signal, then says GOODBYE."""
    signal.signal(signal.SIGTERM, interrupt)
    node = Node(args)
    try:
        node.run()
    except KeyboardInterrupt:
        node.end()
    return 0


def download(args):
    """`saved` or `error`; the name's last part names the file, as nothing else is sent."""
    path = os.path.join(args.dir, os.path.basename(args.name))
    size, error = wire.download(args.ip, args.port, args.name, path, args.secret)
    if error is not None:
        say("error", error)
        return 1
    say("saved", path, size)
    return 0


def register(args):
    """Prints the list exactly as parsed; with --count, the last one of so many registrations from ports in a row."""
    for port in range(args.port, args.port + args.count):
        nodes = wire.register(args.host, args.at, args.ip, port)
    for ip, port in nodes:
        say("node", ip, port)
    say("done", len(nodes))
    return 0


def search(args):
    """Prints the answer as it came."""
    say("answer", wire.search(args.ip, args.port, args.name, args.secret))
    return 0


def probe(args):
    """Whether anybody listens."""
    say("alive" if wire.probe(args.ip, args.port) else "down")
    return 0


def arguments():
    """The command line."""
    top = argparse.ArgumentParser(description="model of the original's node")
    commands = top.add_subparsers(dest="command", required=True)

    def command(run, *names):
        sub = commands.add_parser(run.__name__)
        for name in names:
            sub.add_argument(name, type=int if name in ("port", "at") else str)
        sub.add_argument("--secret", default=wire.SECRET)
        sub.set_defaults(run=run)
        return sub

    command(register, "host", "at", "ip", "port").add_argument("--count", type=int, default=1)
    command(search, "ip", "port", "name")
    command(download, "ip", "port", "name", "dir")
    command(probe, "ip", "port")
    sub = command(serve)
    sub.add_argument("--ip", default="127.0.0.1")
    sub.add_argument("--port", type=int, default=0)
    sub.add_argument("--shared", required=True)
    sub.add_argument("--bootstrap", metavar="HOST:PORT")
    sub.add_argument("--multicast", action="store_true")
    sub.add_argument("--iface", metavar="IP", help="join and send there, not wherever the routes point")
    sub.add_argument("--group", default=wire.GROUP[0])
    sub.add_argument("--group-port", type=int, default=wire.GROUP[1])
    return top.parse_args()


def main():
    args = arguments()
    try:
        return args.run(args)
    except (OSError, ValueError, KeyError) as error:
        say("error", f"{type(error).__name__}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
