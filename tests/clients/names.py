"""A name server for what ends with `.test`, of which every name is this machine, and for names that it is given with an address each.
Nobody else is asked about anything."""

import socket
import struct
import threading

ADDRESS_RECORD, IS_ANSWER, NO_SUCH_NAME = 1, 0x8180, 3


class Names:
    def __init__(self, addresses=None):
        self.addresses = addresses or {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            question, client = self.socket.recvfrom(4096)
            self.socket.sendto(answer(question, self.addresses), client)


def answer(question, addresses):
    end, labels = 12, []
    while question[end]:
        labels.append(question[end + 1:end + 1 + question[end]].decode().lower())
        end += question[end] + 1
    kind = struct.unpack("!H", question[end + 1:end + 3])[0]
    address = "127.0.0.1" if labels[-1:] == ["test"] else addresses.get(".".join(labels))
    records = b""
    if address and kind == ADDRESS_RECORD:
        records = struct.pack("!HHHIH", 0xC00C, ADDRESS_RECORD, 1, 60, 4) + socket.inet_aton(address)
    flags = IS_ANSWER | (0 if address else NO_SUCH_NAME)
    return question[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0) + question[12:end + 5] + records
