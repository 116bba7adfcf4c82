"""What the original DistriShare puts on the wire, in one place: messages, texts, limits.

A model for tests, written from the description of the format. It keeps the original's weaknesses where they can be
seen on the wire (one recv per request, an error prefix looked for in every chunk): that is what it is for. Never use
it to share files.
"""

import json
import socket

SECRET = "distrishare2024"
CHUNK = 4096
GROUP = ("224.1.1.1", 10000)
HELLO_PERIOD = 5.0

# Seconds a client waits: for an answer to a search, for any byte of a download, for a connection that shows life.
SEARCH_LIMIT = 2.0
DOWNLOAD_LIMIT = 5.0
PROBE_LIMIT = 1.0

# The spelling is the original's; its clients compare nothing but the first word.
BAD_SECRET = "ERROR: Autentication faild."
NO_FILE = "ERROR: File not found."
BAD_TYPE = "ERROR: Mensaje malformado o tipo desconocido."
BAD_JSON = "ERROR: Formato de mensaje inválido. Se requiere JSON."


def say(*words):
    """One line for whoever reads our standard output, at once."""
    print(*words, flush=True)


def ask(ip, port, message, limit):
    """Connects, sends one JSON object without any end mark, and hands back the open socket."""
    conn = socket.create_connection((ip, port), timeout=limit)
    conn.sendall(json.dumps(message).encode())
    return conn


def register(host, port, own_ip, own_port, limit=5.0):
    """Registers and returns the list, from ONE recv: an answer cut by the network is a JSON error here, too."""
    with ask(host, port, {"type": "register", "ip": own_ip, "port": own_port}, limit) as conn:
        answer = conn.recv(CHUNK)
    return [(node[0], node[1]) for node in json.loads(answer.decode())["nodes"]]


def search(ip, port, name, secret=SECRET):
    """The answer to a search, as text."""
    with ask(ip, port, {"type": "search", "filename": name, "secret": secret}, SEARCH_LIMIT) as conn:
        return conn.recv(CHUNK).decode()


def download(ip, port, name, path, secret=SECRET):
    """Writes the file in place under its final name; returns (bytes, error text or None).

    A chunk that begins with ERROR is taken for the server's refusal wherever it stands in the stream, and the end of the
    stream is the end of the file, whatever the reason for it.
    """
    total = 0
    with ask(ip, port, {"type": "download", "filename": name, "secret": secret}, DOWNLOAD_LIMIT) as conn:
        with open(path, "wb") as out:
            while True:
                chunk = conn.recv(CHUNK)
                if not chunk:
                    return total, None
                if chunk.startswith(b"ERROR"):
                    return total, chunk.decode(errors="replace")
                out.write(chunk)
                total += len(chunk)


def probe(ip, port):
    """Whether something accepts a connection there; not a byte is sent."""
    try:
        socket.create_connection((ip, port), timeout=PROBE_LIMIT).close()
        return True
    except OSError:
        return False
