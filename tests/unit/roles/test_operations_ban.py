# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail ban: with what fail2ban and pfctl print, and simulated commands."""

from __future__ import annotations

import json

import pytest
from operations import Host, clock
from postmaster_mail import bans, cli, logs
from postmaster_mail.text import Failure

#: fail2ban-client get postmaster-mail banip --with-time, of 1.0.2 and 1.1.0.
FAIL2BAN = """\
198.51.100.5 \t2026-11-30 00:34:58 + 3600 = 2026-11-30 01:34:58
2001:db8:9::/64 \t2026-11-30 00:40:00 + 7200 = 2026-11-30 02:40:00
"""
#: pfctl -a mail -t banned -T show -v.
PF = """\
   198.51.100.5
\tCleared:     Mon Nov 30 00:34:58 2026
   2001:db8:9::/64
\tCleared:     Mon Nov 30 00:40:00 2026
"""
BANNED = 1795998898.0
GUARD = "postmaster-mail-login-guard"
LOG = [
    logs.Line(BANNED - 4000, GUARD, "1", "guesses from 198.51.100.5/32: 9 wrong passwords within 600 s for 'old'"),
    logs.Line(BANNED - 1, GUARD, "1", "guesses from 198.51.100.5/32: 6 wrong passwords within 600 s for 'a@example.org', "
              "'x\x1b: guesses from'"),
    logs.Line(BANNED, GUARD, "1", "guesses from 203.0.113.9/32: 6 wrong passwords within 600 s for 'b'"),
    logs.Line(BANNED, "postfix/smtpd", "1", "guesses from 2001:db8:9::/64: 6 wrong passwords within 600 s for 'forged'"),
]  # fmt: skip


_clock = clock()


@pytest.fixture(params=["fail2ban", "pf"])
def host(request):
    found = Host(log=LOG)
    found.settings = found.settings.__class__(**{**found.settings.__dict__, "bans": request.param})
    found.answers = {
        "fail2ban-client get postmaster-mail banip --with-time": FAIL2BAN, "fail2ban-client set postmaster-mail unbanip": "1\n",
        "pfctl -a mail -t banned -T show -v": PF, "pfctl -q -a mail -t banned -T delete": "",
    }  # fmt: skip
    return found


def run(host, *arguments):
    options = cli._parsed(["ban", *arguments])
    return options.function(host, options)


def test_who_is_banned_since_when_and_why(host):
    answer = run(host, "list")
    until = ["2026-11-30 02:40:00 ", "2026-11-30 01:34:58 "] if host.settings.bans == "fail2ban" else ["", ""]
    assert [" ".join(line.split()) for line in answer.lines] == [
        "BANNED SINCE UNTIL BECAUSE",
        f"2001:db8:9::/64 2026-11-30 00:40:00 {until[0]}".strip(),
        f"198.51.100.5 2026-11-30 00:34:58 {until[1]}6 wrong passwords, for 'a@example.org', 'x?: guesses from'",
    ]
    assert answer.public[1]["network"] == "198.51.100.5/32"


def test_nobody_is_banned(host):
    host.answers = dict.fromkeys(host.answers, "")
    assert run(host, "list").lines == ["Nobody is banned"]


@pytest.mark.parametrize(
    ("what", "lifted"),
    [
        ("198.51.100.5", "198.51.100.5"),
        ("198.51.100.0/24", "198.51.100.5"),
        ("2001:db8:9::7", "2001:db8:9::/64"),
        ("2001:0db8:0009::/64", "2001:db8:9::/64"),
        ("198.51.100.6", ""),
        ("2001:db8::", ""),
    ],
)
def test_an_address_lets_its_network_in(host, what, lifted):
    answer = run(host, "lift", what)
    assert [argv[-1] for argv, _stdin in host.ran[1:]] == ([lifted] if lifted else [])
    assert host.notes == ([f"ban: {lifted} is lifted"] if lifted else [])
    assert answer.status == (0 if lifted else 1)
    assert answer.lines[0].startswith(f"{lifted} is let in again" if lifted else f"{what} is not banned")


def test_what_is_not_understood(host):
    with pytest.raises(Failure, match="'anna' is neither an address nor a network"):
        run(host, "lift", "anna")
    with pytest.raises(Failure, match=r"ban lift: of which address or network\?"):
        run(host, "lift")
    with pytest.raises(Failure, match="ban list takes no address; ban lift does"):
        run(host, "list", "192.0.2.1")


def test_what_the_guard_says_counts_of_the_guard_alone():
    for network in ("x", "999.0.2.1/32", "192.0.2.1/33"):
        assert bans.event(logs.Line(1.0, GUARD, "1", f"guesses from {network}: 6 wrong passwords within 600 s for 'a'")) is None
    found = list(logs.of_journal(['{"__REALTIME_TIMESTAMP":"1","MESSAGE":"guesses from 192.0.2.1/32: 6","SYSLOG_IDENTIFIER":"' + GUARD
                                  + '","_SYSTEMD_UNIT":"cron.service","_UID":"0"}']))  # fmt: skip
    assert found == []


def test_the_sets_of_the_guard_itself_say_for_how_long(host, monkeypatch):
    def element(value, left):
        return {"elem": {"val": value, "timeout": 3600, "expires": left}}

    sets = [{"set": {"name": "banned4", "elem": [element("198.51.100.5", 3000)]}}, {"set": {"name": "banned6"}},
            {"set": {"name": "banned6", "elem": [element({"prefix": {"addr": "2001:db8:9::", "len": 64}}, 3600)]}}]  # fmt: skip
    monkeypatch.setattr(bans.time, "time", lambda: BANNED + 600)
    found = bans.listed("nft", json.dumps({"nftables": [{"metainfo": {}}, *sets]}))
    assert [(ban.network, ban.since, ban.until) for ban in found] == [
        ("2001:db8:9::/64", BANNED + 600, BANNED + 4200), ("198.51.100.5/32", BANNED, BANNED + 3600)
    ]


@pytest.mark.parametrize(("kind", "network", "words"), [
    ("nft", "198.51.100.5/32", ["banned4", "{ 198.51.100.5 }"]),
    ("nft", "2001:db8:9::/64", ["banned6", "{ 2001:db8:9::/64 }"]),
    ("pf", "198.51.100.5/32", ["198.51.100.5"]),
])  # fmt: skip
def test_who_is_let_in_again(kind, network, words):
    assert bans.lifting(kind, network) == [*bans.COMMANDS[kind][1], *words]
