# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a mail server announces: its greeting and its answer to EHLO (I/O). No mail is sent."""

from __future__ import annotations

import asyncio
import re

from ansible_collections.postmaster.mail.plugins.module_utils._rdns import Greeting

# RFC 5321 section 4.5.3.1.5 allows 512 octets for a reply line; more than this many lines is no greeting.
_LINE = 4096
_LINES = 100


class _Broken(Exception):
    """The other side does not speak SMTP."""


async def greet(address: str, port: int = 25, connect_timeout: float = 5.0, lifetime: float = 20.0) -> Greeting:
    """Read the greeting and the answer to EHLO, then QUIT.

    :param address: IPv4 or IPv6 address
    :param connect_timeout: seconds for the connection
    :param lifetime: seconds for everything; servers such as Postfix's postscreen greet strangers late on purpose
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + lifetime
    seen: dict[str, tuple[int, str]] = {}
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port, limit=_LINE), min(connect_timeout, lifetime))
    except asyncio.TimeoutError:
        return Greeting("timeout", detail=f"no connection to port {port} within {min(connect_timeout, lifetime):g} s")
    except ConnectionRefusedError:
        return Greeting("refused", detail=f"nothing listens on port {port}")
    except OSError as exc:
        return Greeting("unreachable", detail=f"no connection to port {port}: {exc.strerror or exc}")
    try:
        await asyncio.wait_for(_talk(reader, writer, seen), until - loop.time())
        status, detail = "ok", ""
    except asyncio.TimeoutError:
        status, detail = ("broken" if "banner" in seen else "timeout"), f"no answer on port {port} within {lifetime:g} s"
    except (_Broken, OSError) as exc:
        status, detail = "broken", str(exc) or "the connection ended early"
    finally:
        writer.close()
    banner, ehlo = seen.get("banner", (0, "")), seen.get("ehlo", (0, ""))
    return Greeting(status, banner[0], banner[1], ehlo[0], ehlo[1], detail)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: dict[str, tuple[int, str]]) -> None:
    seen["banner"] = await _reply(reader)
    if seen["banner"][0] == 220:
        own = writer.get_extra_info("sockname")[0]
        # An address literal is the one truthful name of a client without its own (RFC 5321 section 4.1.4).
        literal = f"[IPv6:{own}]" if ":" in own else f"[{own}]"
        for verb in ("EHLO", "HELO"):
            writer.write(f"{verb} {literal}\r\n".encode("ascii"))
            await writer.drain()
            seen["ehlo"] = await _reply(reader)
            if not 500 <= seen["ehlo"][0] <= 504:
                break
    writer.write(b"QUIT\r\n")
    await writer.drain()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, str]:
    """(code, text of the first line) of a reply of one or more lines (RFC 5321 section 4.2.1)."""
    first = ""
    for number in range(_LINES):
        try:
            raw = await reader.readline()
        except ValueError as exc:
            raise _Broken(f"a reply with a line of more than {_LINE} octets") from exc
        if not raw:
            raise _Broken("the server closed the connection" + ("" if number else " without a word"))
        line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
        if not re.fullmatch("[0-9]{3}", line[:3]) or line[3:4] not in ("", " ", "-"):
            raise _Broken(f"not an SMTP reply: {line[:80]!r}")
        if not number:
            first = line[4:].strip()
        if line[3:4] != "-":
            return int(line[:3]), first
    raise _Broken(f"a reply of more than {_LINES} lines")
