# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A DNS server that misbehaves on purpose, on a loopback port of its own, over UDP and TCP.

``records`` maps a name to ``{type: [values]}``. ``behaviour`` maps a name, or ``.suffix`` for all names below one, to a
way to go wrong. Run as a program it reads both as JSON from its standard input, prints its port, and serves until that
input ends.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset

RCODES = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED, "notauth": dns.rcode.NOTAUTH, "nxdomain": dns.rcode.NXDOMAIN}


class Server:
    """``recursive``: claims to be a resolver. ``delay``: seconds before each answer. ``log``: (name, type, tcp) of each question.

    ``hold``: answers nothing until so many different questions are there; whoever waits for an answer first waits forever.
    """

    def __init__(
        self, records: dict, behaviour: dict | None = None, delay: float = 0.0, recursive: bool = True, edns: bool = True,
        address: str = "127.0.0.1", fast: bool = False, hold: int = 0,
    ) -> None:  # fmt: skip
        self.records = {name.lower(): sets for name, sets in records.items()}
        self.behaviour = behaviour or {}
        self.delay = delay
        self.recursive = recursive
        self.edns = edns
        self.address = address
        self.log: list[tuple[str, str, bool]] = []
        self.port = 0
        self.hold = hold
        self.held: dict[tuple, list] = {}
        self.frozen: dict[bytes, bytes] = {}
        if fast:
            # Answers made in advance, so that thousands a second can be given: one A or TXT record per name and type.
            for name, sets in self.records.items():
                for kind, values in sets.items():
                    rdata = dns.rdata.from_text("IN", kind, values[0]).to_wire()
                    question = dns.name.from_text(name).to_wire() + struct.pack("!HH", dns.rdatatype.from_text(kind), 1)
                    self.frozen[question] = b"\xc0\x0c" + question[-4:] + struct.pack("!IH", 60, len(rdata)) + rdata
        self._ready = threading.Event()

    # -- life

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        outer = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.DatagramTransport) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, peer: tuple) -> None:
                replies = [(delay, reply, peer) for delay, reply in outer.replies(data, False)]
                for delay, reply, to in outer.release(data, replies):
                    outer._loop.call_later(delay, self.transport.sendto, reply, to)

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                for delay, reply in self.replies(data, True):
                    await asyncio.sleep(delay)
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
            except (EOFError, OSError):
                pass
            writer.close()

        for _attempt in range(20):
            tcp = await asyncio.start_server(connection, self.address, self.port)
            port = tcp.sockets[0].getsockname()[1]
            try:
                udp, _protocol = await self._loop.create_datagram_endpoint(Datagrams, (self.address, port))
                break
            except OSError:
                tcp.close()  # that port is taken for UDP
        self.port = port
        self._ready.set()
        await self._end.wait()
        udp.close()
        tcp.close()

    # -- answers

    def release(self, data: bytes, replies: list) -> list:
        """What goes out now: the replies, or none, or all those held back."""
        if not self.hold:
            return replies
        # By question, without the id: one that is repeated counts once.
        self.held[data[12 : data.index(b"\0", 12) + 5]] = replies
        if len(self.held) < self.hold:
            return []
        self.hold = 0
        return [reply for held in self.held.values() for reply in held]

    def how(self, name: str) -> str:
        found = self.behaviour.get(name, "")
        while not found and name:
            name = name.partition(".")[2]
            found = self.behaviour.get("." + name, "")
        return found

    def replies(self, data: bytes, tcp: bool) -> list[tuple[float, bytes]]:
        """(delay, packet) for each packet that goes back."""
        if self.frozen:
            end = data.index(b"\0", 12) + 5
            body = self.frozen.get(data[12:end])
            flags = b"\x81\x80\0\1\0\1\0\0\0\0" if body else b"\x81\x83\0\1\0\0\0\0\0\0"
            return [(self.delay, data[:2] + flags + data[12:end] + (body or b""))]
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.log.append((name, dns.rdatatype.to_text(question.rdtype), tcp))
        how = self.how(name)
        if how == "timeout":
            return []
        if not self.edns and query.edns >= 0:
            return [(self.delay, data[:2] + b"\x80\x01" + b"\0" * 8)]  # FORMERR, header only, as before RFC 6891
        response = dns.message.make_response(query, recursion_available=self.recursive)
        if not self.recursive:
            response.flags |= dns.flags.AA
        if how in RCODES:
            response.set_rcode(RCODES[how])
        elif how == "lame":
            response.flags &= ~(dns.flags.AA | dns.flags.RA)
        elif how == "referral":
            response.flags &= ~dns.flags.AA
            response.authority.append(dns.rrset.from_text("test.", 60, "IN", "NS", "ns.elsewhere.test."))
        elif how == "empty":
            pass  # no data, and no SOA record to prove it
        else:
            self.fill(response, question)
        if how in ("truncated", "truncated_no_tcp", "truncated_garbage") and not tcp:
            response.answer.clear()
            response.flags |= dns.flags.TC
        if how == "truncated_no_tcp" and tcp:
            return []
        if how == "truncated_garbage" and tcp:
            return [(self.delay, b"\0" * 12)]
        wire = response.to_wire()
        if how == "garbage":
            wire = wire[:2] + b"\x80\x00\xff\xff" + b"\xff" * 12
        if how == "wrong_id":
            wire = bytes([wire[0] ^ 0xFF, wire[1]]) + wire[2:]
        if how == "wrong_question":
            other = dns.message.make_query("other.test.", "A")
            other.id = query.id
            wire = dns.message.make_response(other, recursion_available=True).to_wire()
        if how == "forged_first":
            forged = bytes([wire[0] ^ 0xFF, wire[1]]) + wire[2:]
            return [(self.delay, forged), (self.delay + 0.05, wire)]
        return [(self.delay, wire)]

    def fill(self, response: dns.message.Message, question: dns.rrset.RRset) -> None:
        owner, wanted = question.name, dns.rdatatype.to_text(question.rdtype)
        for _step in range(20):
            sets = self.records.get(owner.to_text(omit_final_dot=True).lower())
            if sets is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            elif wanted in sets:
                response.answer.append(dns.rrset.from_text(owner, 60, "IN", wanted, *sets[wanted]))
                return
            elif "CNAME" in sets:
                response.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", *sets["CNAME"]))
                owner = dns.name.from_text(sets["CNAME"][0])
                if not self.recursive:
                    return  # an authoritative server that leaves the rest to the client
                continue
            response.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", "ns.test. me.test. 1 2 3 4 5"))
            return


def main() -> None:
    server = Server(**json.loads(sys.stdin.readline()))
    with server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
