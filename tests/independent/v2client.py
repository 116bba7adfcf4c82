#!/usr/bin/env python3
"""A client of DistriShare's version 2, written from docs/PROTOCOL.md (sections 2 to 5) alone: no source of the project
was used, so that what it can do, another implementation can. Where this needs to know more, the page is what is wrong.

usage: v2client.py HOST PORT fetch FOLDER NAME...     finds and fetches these files, and all that a browse names
       v2client.py HOST PORT knock                    says how a handshake is answered
options: --group HEX64 (the group's key), --no-aes (the abilities say "aes":false), --run N (1 to 16)
Needs the packages of requirements.txt beside it.
"""
import argparse
import json
import os
import socket
import struct
import time
import warnings

warnings.filterwarnings("ignore")

import blake3 as b3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from noise.connection import Keypair, NoiseConnection

MAGIC = bytes.fromhex("D5445332")
CHUNK = 4096
PIECE = 1 << 20
# The largest range of one `get`.
MOST = 4 * PIECE
PATIENCE = 30


class Closed(Exception):
    """The other side ended the connection."""


class ProtocolError(Exception):
    """The other side sent what the page does not allow."""


def check(fine, what):
    if not fine:
        raise ProtocolError(what)


def derive_key(context, key):
    return b3.blake3(key, derive_key_context=context).digest()


def preamble(group):
    head = MAGIC + b"\x01" + os.urandom(7)
    key = derive_key("DistriShare v2 preamble", group or bytes(32))
    mask = int.from_bytes(b3.blake3(head, key=key).digest()[:4], "little")
    minutes = int(time.time()) // 60 if group else 0
    head += (minutes ^ mask).to_bytes(4, "little")
    return head + b3.blake3(head, key=key).digest()[:16]


def noise(group, prologue, static=None):
    pattern = b"Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s" if group else b"Noise_XX_25519_ChaChaPoly_BLAKE2s"
    state = NoiseConnection.from_name(pattern)
    state.set_as_initiator()
    if group:
        state.set_psks(group)
    state.set_prologue(prologue)
    static = static or X25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    state.set_keypair_from_private_bytes(Keypair.STATIC, static)
    state.start_handshake()
    return state


class Way:
    """One direction's records."""

    REKEY = 1 << 20

    def __init__(self, split, aes, run):
        self.suite = AESGCM if aes else ChaCha20Poly1305
        self.most = run * CHUNK + 32
        self.begin(derive_key("DistriShare v2 record", split))

    def begin(self, key):
        self.key, self.counter, self.cipher = key, 0, self.suite(key)

    def nonce(self):
        return bytes(4) + struct.pack("<Q", self.counter)

    def step(self):
        self.counter += 1
        if self.counter == self.REKEY:
            self.begin(derive_key("DistriShare v2 rekey", self.key))

    def seal(self, plain):
        head = struct.pack("<I", len(plain)) + bytes(12)
        record = head + self.cipher.encrypt(self.nonce(), plain, head)
        self.step()
        return record

    def open(self, head, body):
        try:
            plain = self.cipher.decrypt(self.nonce(), body, head)
        except InvalidTag:
            raise ProtocolError("a record's tag is wrong") from None
        self.step()
        return plain


class Session:
    def __init__(self, host, port, group=None, aes=True, run=16, static=None):
        self.socket = socket.create_connection((host, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got, self.id = b"", 0
        ours = {"v": [1, 1], "aes": aes, "run": run, "port": 0}
        start = preamble(group)
        state = noise(group, start, static)
        self.socket.sendall(start)
        self.send_frame(state.write_message())
        self.theirs = json.loads(bytes(state.read_message(self.read_frame())))
        self.send_frame(state.write_message(json.dumps(ours, separators=(",", ":")).encode()))
        check(state.handshake_finished, "the handshake has more than three messages")
        both = aes and self.theirs["aes"]
        self.suite = "AES-256-GCM" if both else "ChaCha20-Poly1305"
        keys = state.noise_protocol
        self.out = Way(keys.cipher_state_encrypt.k, both, self.theirs["run"])
        self.into = Way(keys.cipher_state_decrypt.k, both, run)

    # Bytes and frames.

    def read(self, count):
        while len(self.got) < count:
            try:
                more = self.socket.recv(1 << 16)
            except (ConnectionResetError, BrokenPipeError):
                more = b""
            if not more:
                raise Closed("%d bytes came" % len(self.got))
            self.got += more
        taken, self.got = self.got[:count], self.got[count:]
        return taken

    def send_frame(self, message):
        self.socket.sendall(struct.pack("<H", len(message)) + bytes(message))

    def read_frame(self):
        head = self.read(2)
        if head == b"ER":
            raise Closed("in the words of version 1")
        (length,) = struct.unpack("<H", head)
        check(1 <= length <= 256, "a frame of %d bytes" % length)
        return self.read(length)

    # Records and messages.

    def say(self, kind, **keys):
        text = json.dumps(keys, separators=(",", ":"), ensure_ascii=False)
        self.socket.sendall(self.out.seal(bytes([kind]) + text.encode()))

    def record(self):
        head = self.read(16)
        (length,) = struct.unpack("<I", head[:4])
        check(head[4:] == bytes(12) and 1 <= length <= self.into.most, "a record's head " + head.hex())
        return self.into.open(head, self.read(length + 16))

    def message(self):
        """The next message that is not for the session itself: its type and its keys."""
        while True:
            plain = self.record()
            kind = plain[0]
            if kind in (17, 21):
                check(len(plain) > 32, "a data message without data")
                check(plain[1:4] == bytes(3) and plain[16:32] == bytes(16), "gaps that are not zero")
                number, at = struct.unpack("<IQ", plain[4:16])
                return kind, {"id": number, "at": at, "body": plain[32:]}
            if kind % 2 == 0:
                continue
            check(plain[1:2] == b"{" and plain[-1:] == b"}", "text around the object")
            keys = json.loads(plain[1:].decode())
            if kind == 1:
                raise Closed("close: " + keys["reason"])
            if kind == 3:
                self.say(5, id=keys["id"])
                continue
            return kind, keys

    # Requests.

    def ask(self, kind, **keys):
        self.id += 1
        self.say(kind, id=self.id, **keys)
        return self.id

    def answer(self, request, wanted):
        """The next message of the answer to our only open request; what the other side asks is left to its deadline."""
        while True:
            kind, keys = self.message()
            if keys["id"] != request or kind not in (wanted, 23):
                continue
            check(kind != 23, "refused: %s: %s" % (keys.get("code"), keys.get("text")))
            return keys

    def files(self, kind, **keys):
        request, found = self.ask(kind, **keys), []
        while True:
            keys = self.answer(request, 9)
            found += keys["files"]
            if keys["end"]:
                return found

    def search(self, query):
        return self.files(7, query=query, limit=256)

    def browse(self):
        found, after = [], {}
        while True:
            page = self.files(11, limit=4, **after)
            if not page:
                return found
            found += page
            names = [entry["name"].encode() for entry in found]
            check(all(one < next for one, next in zip(names, names[1:])), "names out of order")
            after = {"after": found[-1]["name"]}

    def stat(self, name):
        """The file of this name, once it is hashed."""
        end = time.monotonic() + PATIENCE
        while True:
            found = self.files(13, name=name)
            if found and found[0]["root"]:
                return found[0]
            check(time.monotonic() < end, "%s is not there, or not hashed: %s" % (name, found))
            time.sleep(0.05)

    def values(self, root, count):
        request, got = self.ask(15, root=root, span=0, first=0, count=count), b""
        while len(got) < 32 * count:
            part = self.answer(request, 17)
            check(part["at"] == len(got) // 32 and len(part["body"]) % 32 == 0, "values out of order")
            got += part["body"]
        check(len(got) == 32 * count, "more values than asked for")
        return [got[at:at + 32] for at in range(0, len(got), 32)]

    def range(self, root, offset, length):
        request, got = self.ask(19, root=root, offset=offset, len=length), bytearray()
        while len(got) < length:
            part = self.answer(request, 21)
            check(part["at"] == offset + len(got), "data out of order")
            got += part["body"]
            check(len(got) == length or len(got) % CHUNK == 0, "a chunk in two messages")
        check(len(got) == length, "more data than asked for")
        return bytes(got)

    def download(self, root, size):
        count = -(-size // PIECE)
        values = self.values(root, count) if count > 1 else []
        if values:
            check(tree_root(values) == root, "the values do not add up to the root")
        data = b"".join(self.range(root, at, min(MOST, size - at)) for at in range(0, size, MOST))
        check(b3.blake3(data).hexdigest() == root, "other bytes than the root's")
        # Each value was checked by their sum. A short last piece shows which bytes it stands for, at little cost.
        last = data[PIECE * (count - 1):]
        if values and len(last) <= 1 << 16:
            check(piece_value(last, count - 1) == values[-1], "the last piece has another value")
        return data


# BLAKE3's chaining values, from its paper (section 2): packages only give the hash of the whole.

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
DIAGONALS = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
START, END, PARENT, ROOT = 1, 2, 4, 8
MASK = 0xFFFFFFFF


def turn(word, by):
    return (word >> by | word << 32 - by) & MASK


def compress(chain, block, counter, flags):
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = list(chain) + IV[:4] + [counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for n, (a, b, c, d) in enumerate(COLUMNS + DIAGONALS):
            v[a] = (v[a] + v[b] + m[2 * n]) & MASK
            v[d] = turn(v[d] ^ v[a], 16)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = turn(v[b] ^ v[c], 12)
            v[a] = (v[a] + v[b] + m[2 * n + 1]) & MASK
            v[d] = turn(v[d] ^ v[a], 8)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = turn(v[b] ^ v[c], 7)
        m = [m[place] for place in ORDER]
    return [v[n] ^ v[n + 8] for n in range(8)]


def chunk_value(data, counter):
    chain = IV
    for at in range(0, len(data), 64):
        flags = (START if at == 0 else 0) | (END if at + 64 >= len(data) else 0)
        chain = compress(chain, data[at:at + 64], counter, flags)
    return chain


def merge(values, flags=0):
    if len(values) == 1:
        return values[0]
    left = 1 << (len(values) - 1).bit_length() - 1
    both = merge(values[:left]) + merge(values[left:])
    return compress(IV, struct.pack("<16I", *both), 0, PARENT | flags)


def tree_root(values):
    return struct.pack("<8I", *merge([list(struct.unpack("<8I", value)) for value in values], ROOT)).hex()


def piece_value(data, number):
    first = number * (PIECE // 1024)
    chunks = [chunk_value(data[at:at + 1024], first + at // 1024) for at in range(0, len(data), 1024)]
    return struct.pack("<8I", *merge(chunks))


def fetch(session, folder, names):
    for name in names:
        told = session.stat(name)
        found = [entry for entry in session.search('"%s"' % name) if entry["name"] == name]
        check(found == [told], "a search finds %s, and stat %s" % (found, told))
        data = session.download(told["root"], told["size"])
        check(len(data) == told["size"], "another size")
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
        print("fetched", len(data), name, flush=True)
    for entry in session.browse():
        print("browsed", entry["size"], entry["name"], flush=True)
    session.say(1, reason="bye")


def main():
    words = argparse.ArgumentParser()
    words.add_argument("host")
    words.add_argument("port", type=int)
    words.add_argument("what", choices=["fetch", "knock"])
    words.add_argument("names", nargs="*")
    words.add_argument("--group", type=bytes.fromhex)
    words.add_argument("--no-aes", action="store_true")
    words.add_argument("--run", type=int, default=16)
    told = words.parse_args()
    try:
        session = Session(told.host, told.port, told.group, not told.no_aes, told.run)
    except Closed as why:
        if told.what == "knock":
            print("closed:", why)
            return
        raise
    print("session", session.suite, flush=True)
    if told.what == "fetch":
        fetch(session, told.names[0], told.names[1:])


if __name__ == "__main__":
    main()
