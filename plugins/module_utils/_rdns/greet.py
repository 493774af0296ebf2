# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a mail server announces: its greeting and its answer to EHLO (I/O). No mail is sent."""

from __future__ import annotations

import asyncio

from ansible_collections.postmaster.mail.plugins.module_utils._io.smtp import GREETING_LINE, GREETING_LINES, NotSmtp, literal, reply_line
from ansible_collections.postmaster.mail.plugins.module_utils._rdns.rules import Greeting


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
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port, limit=GREETING_LINE), min(connect_timeout, lifetime))
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
    except (NotSmtp, OSError) as exc:
        status, detail = "broken", str(exc) or "the connection ended early"
    finally:
        writer.close()
    banner, ehlo = seen.get("banner", (0, "")), seen.get("ehlo", (0, ""))
    return Greeting(status, banner[0], banner[1], ehlo[0], ehlo[1], detail)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: dict[str, tuple[int, str]]) -> None:
    seen["banner"] = await _reply(reader)
    if seen["banner"][0] == 220:
        name = literal(writer.get_extra_info("sockname")[0])
        for verb in ("EHLO", "HELO"):
            writer.write(f"{verb} {name}\r\n".encode("ascii"))
            await writer.drain()
            seen["ehlo"] = await _reply(reader)
            if not 500 <= seen["ehlo"][0] <= 504:
                break
    writer.write(b"QUIT\r\n")
    await writer.drain()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, str]:
    """(code, text of the first line) of a reply of one or more lines (RFC 5321 section 4.2.1)."""
    first = ""
    for number in range(GREETING_LINES):
        try:
            raw = await reader.readline()
        except ValueError as exc:
            raise NotSmtp(f"a reply with a line of more than {GREETING_LINE} octets") from exc
        if not raw:
            raise NotSmtp("the server closed the connection" + ("" if number else " without a word"))
        code, text, last = reply_line(raw)
        if not number:
            first = text
        if last:
            return code, first
    raise NotSmtp(f"a reply of more than {GREETING_LINES} lines")
