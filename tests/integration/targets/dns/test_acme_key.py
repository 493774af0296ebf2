# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of BIND in docs/acme-dns.md: what each of the two keys may change."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import servers
from servers import SECRET

DOCS = Path(__file__).resolve().parents[4] / "docs/acme-dns.md"
ZONE = "example.org"


@pytest.fixture
def primary(daemons, tmp_path):
    text = DOCS.read_text(encoding="utf-8")
    policy = re.search(r"update-policy \{.*?\n        \};", text, re.DOTALL)[0]
    policy = policy.replace("grant mail ", f"grant {servers.KEYS[0]} ").replace("grant acme-mail ", f"grant {servers.KEYS[1]} ")
    zones = {ZONE: (servers.zone_text(ZONE), f"type primary; {policy}")}
    named = servers.Named(tmp_path / "named", "127.0.0.1", servers.free_port(), zones)
    named.start(ZONE)
    daemons.append(named)
    return named


@pytest.mark.parametrize(
    ("record", "acme"),
    [
        ("_acme-challenge.mail.example.org. 60 TXT proof", True),
        ("_acme-challenge.mail.example.org. 60 CAA 0 issue evil.example", False),
        ("_acme-challenge.example.org. 60 TXT proof", False),
        ("x._acme-challenge.mail.example.org. 60 TXT proof", False),
        ("mail.example.org. 60 TXT proof", False),
        ("example.org. 60 MX 10 ns1.example.org.", False),
        ("s1._domainkey.example.org. 60 TXT p=evil", False),
    ],
)
def test_what_each_key_may_change(primary, record, acme):
    for key, allowed in ((servers.KEYS[1], acme), (servers.KEYS[0], True)):
        for what in (f"update add {record}", f"update delete {record}"):
            text = f"server {primary.address} {primary.port}\nzone {ZONE}\n{what}\nsend\n"
            argv = ["nsupdate", "-y", f"hmac-sha256:{key}:{SECRET}"]
            done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
            assert (done.returncode == 0) is allowed, (key, what, done.stderr)
            assert allowed or "REFUSED" in done.stderr
