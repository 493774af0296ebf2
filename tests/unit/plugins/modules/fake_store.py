#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As much of Redis and Valkey as carrying over needs, and a systemctl that knows two units of it. Not a test.

Data are "key" or "key expires" lines. A snapshot (base.rdb) begins with the version of its format; ``--reads`` is the latest that this
server knows. What the environment's LAB directory has as ``refuse-rewrite`` or ``lose`` makes it fail so.
"""

from __future__ import annotations

import os
import pathlib
import signal
import socketserver
import subprocess
import sys
import time

LAB = pathlib.Path(os.environ["STORE_LAB"])


def serve(options: dict[str, str]) -> None:
    name = options["appenddirname"]
    kept = pathlib.Path(options["dir"], name)
    manifest = kept / f"{name}.aof.manifest"
    base = manifest.read_text().split()[1]
    lines = (kept / base).read_text().splitlines()
    if base.endswith(".rdb"):
        version = int(lines.pop(0))
        if version > int(options.get("reads", "11")):
            sys.exit(f"Can't handle RDB format version {version}")
    if (LAB / "lose").exists() and "reads" not in options:
        lines.pop(0)
    state = {"preamble": True, "status": "ok"}

    def answer(words: list[str]) -> str:
        if words[0] == "PING":
            return "+PONG\r\n"
        if words[:3] == ["CONFIG", "SET", "aof-use-rdb-preamble"]:
            state["preamble"] = words[3] == "yes"
            return "+OK\r\n"
        if words == ["BGREWRITEAOF"]:
            if (LAB / "refuse-rewrite").exists():
                state["status"] = "err"
                return "+Background append only file rewriting started\r\n"
            state["status"] = "ok"
            name_of_base = f"{name}.aof.2.base.{'rdb' if state['preamble'] else 'aof'}"
            (kept / name_of_base).write_text("".join(f"{line}\n" for line in ([] if not state["preamble"] else ["12"]) + lines))
            manifest.write_text(f"file {name_of_base} seq 2 type b\nfile {name}.aof.2.incr.aof seq 2 type i\n")
            return "+Background append only file rewriting started\r\n"
        if words == ["INFO", "persistence"]:
            idle = "aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\nrdb_bgsave_in_progress:0\r\n"
            text = f"# Persistence\r\n{idle}aof_last_bgrewrite_status:{state['status']}\r\n"
            return f"${len(text)}\r\n{text}\r\n"
        if words == ["INFO", "keyspace"]:
            text = f"# Keyspace\r\ndb0:keys={len(lines)},expires={sum(' ' in line for line in lines)},avg_ttl=0\r\n"
            return f"${len(text)}\r\n{text}\r\n"
        return "-ERR unknown command\r\n"

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                words = []
                for _number in range(int(line[1:])):
                    self.rfile.readline()
                    words.append(self.rfile.readline().decode().rstrip("\r\n"))
                self.wfile.write(answer(words).encode())

    pathlib.Path(options["unixsocket"]).unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(options["unixsocket"], Handler) as server:
        server.daemon_threads = True
        server.serve_forever()


def systemctl(words: list[str]) -> int:
    with open(LAB / "calls", "a", encoding="utf-8") as log:
        log.write(" ".join(words) + "\n")
    if words[0] == "list-units":
        print((LAB / "units").read_text() if (LAB / "units").exists() else "")
        return 0
    unit = LAB / f"{words[-1]}.pid"
    if words[1:2] == ["is-active"]:
        return 0 if unit.exists() else 3
    if words[0] == "start" and not unit.exists():
        pid = "0"
        if words[1] == "old@rspamd":
            child = subprocess.Popen(
                [pathlib.Path(__file__).resolve(), "--dir", LAB / "old", "--appenddirname", "rspamd", "--unixsocket", LAB / "old.sock",
                 "--reads", "12"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            pid = str(child.pid)
        unit.write_text(pid)
    if words[0] == "stop" and unit.exists():
        pid = int(unit.read_text())
        unit.unlink()
        if pid:
            os.kill(pid, signal.SIGTERM)
            status = pathlib.Path(f"/proc/{pid}/stat")
            while status.exists() and status.read_text().split()[2] != "Z":
                time.sleep(0.01)
    return 0


if __name__ == "__main__":
    if pathlib.Path(sys.argv[0]).name == "systemctl":
        sys.exit(systemctl(sys.argv[1:]))
    serve({word.lstrip("-"): value for word, value in zip(sys.argv[1::2], sys.argv[2::2])})
