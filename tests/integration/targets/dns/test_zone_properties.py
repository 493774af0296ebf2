# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random zone files, written in all the ways that BIND reads: what our parser and our edits make of them, BIND's own reader says.

POSTMASTER_MAIL_ZONE_FILES is how many are tried; each has a seed of its own, which a failure names.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter

import dns.rdatatype
import dns.zone
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns import rdata as dns_rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns import zone_file
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import inside

ZONE = "example.org"
TODAY = 20261122
BATCH = 25
COUNT = int(os.environ.get("POSTMASTER_MAIL_ZONE_FILES", "300"))

NAMES = ["@", "mail", "Www", "a.b", "s1._domainkey", "_dmarc", "_25._tcp.mail", "*", "*.w", "g3", "h.g1", "sub", "x.sub", "d7.r"]
ALIASES = ["alias", "alias2", "k._domainkey"]
VALUES = {
    "A": ["192.0.2.1", "192.0.2.77"],
    "AAAA": ["2001:db8::1", "::ffff:192.0.2.1", "2001:DB8:0::2"],
    "MX": ["10 mail", "0 mx.example.net.", "010 @", "5 ."],
    "SRV": ["0 1 465 mail", "0 0 0 ."],
    "TLSA": ["3 1 1 " + "ab" * 32, "255 255 255 abcd", "3 1 1 " + "AB" * 16 + " " + "cd" * 16],
    "CAA": ['0 issue "ca.example; a=b"', "128 iodef x", r'1 abc "a\"b"'],
    "TXT": ['"v=spf1 -all"', "plain", '"two" "strings"', r'"q\"b\\c\065" d\;e', '"' + "x" * 255 + '" "y"', '"a;b(c"', r"\# 4 03616263"],
    "PTR": ["mail", "host.example.net."],
    "HINFO": ['"cpu" "os"'],
    "TYPE65534": [r"\# 2 abcd"],
}
WANTED = {"A": ["192.0.2.9"], "TXT": ["new value", 'q"u\\o;te'], "MX": ["20 new.example.net"], "CAA": ["0 issue new.example"],
          "TLSA": ["3 1 1 " + "ef" * 32]}  # fmt: skip


class Zone:
    """A random zone file."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.newline = self.dice.choice(["\n", "\n", "\n", "\r\n"])
        self.lines: list[str] = []
        self.build()
        self.text = self.newline.join(self.lines) + self.dice.choice([self.newline, ""])

    def one_in(self, count: int) -> bool:
        return self.dice.randrange(count) == 0

    def comment(self) -> str:
        return self.dice.choice(["", "", "", " ; a comment", " ;(", ' ; "quoted', ";"])

    def owner(self, name: str) -> str:
        forms = [name, name, name.swapcase()]
        if name != "@":
            forms += [f"{name}.{ZONE}.", f'"{name}"', f"\\{ord(name[0]):03d}{name[1:]}"]
        return self.dice.choice(forms)

    def ttl_and_class(self) -> str:
        ttl = self.dice.choice(["", "", "", "300", "1h30m", "0", "2W"])
        return self.dice.choice(["{t} IN", "IN {t}", "{t}", "in {t}", "{t} CLASS1"]).format(t=ttl).strip()

    def data(self, rtype: str) -> str:
        value = self.dice.choice(VALUES[rtype])
        if self.one_in(6):
            return f"({value}{self.newline} )"
        if self.one_in(12):
            return f"( ; open{self.newline}\t{value} )"
        return value

    def record(self, name: str, rtype: str, blank: bool) -> str:
        owner = self.dice.choice([" ", "\t"]) if blank else self.owner(name) + self.dice.choice([" ", "\t"])
        word = self.dice.choice([rtype, rtype.lower()])
        return " ".join(part for part in (owner.rstrip(" "), self.ttl_and_class(), word, self.data(rtype)) if part) + self.comment()

    def build(self) -> None:
        if not self.one_in(4):
            self.lines.append("$TTL " + self.dice.choice(["3600", "1h", "1W2d"]) + self.comment())
        ttl = self.dice.choice(["", "600 ", "IN ", "IN 1d "])
        self.lines.append(f"@ {ttl}SOA ns1 host ( 2026010203 ; serial{self.newline} 7200 3600 2w{self.newline} 300 )")
        self.lines += ["  NS ns1", "ns1 A 192.0.2.53"]
        origin_moved = False
        for _turn in range(self.dice.randrange(3, 14)):
            name = self.dice.choice(NAMES)
            if self.one_in(12):
                self.lines.append(self.dice.choice(["", "; a line of comment", "   ", "\t; indented"]))
            elif self.one_in(14) and not origin_moved:
                self.lines.append(self.dice.choice(["$ORIGIN low", "$ORIGIN low.example.org.", "$origin ."]))
                origin_moved = True
            elif origin_moved and self.one_in(2):
                self.lines.append(f"$ORIGIN {ZONE}.")
                origin_moved = False
            elif self.one_in(14):
                self.lines.append(self.generate())
            elif self.one_in(14):
                self.lines.append(f"{self.dice.choice(ALIASES)} CNAME {self.dice.choice(['mail', 'x.example.net.'])}")
            elif self.one_in(16):
                self.lines.append(f"sub{self.dice.choice(['', '2'])} NS ns.example.net.")
            else:
                for at in range(self.dice.choice([1, 1, 1, 2, 3])):
                    self.lines.append(self.record(name, self.dice.choice(list(VALUES)), at > 0))
        if origin_moved:
            self.lines.append(f"$ORIGIN {ZONE}.")

    def generate(self) -> str:
        ttl = self.dice.choice(["", "", "77 ", "IN 88 "])
        return "$GENERATE " + self.dice.choice([
            f"1-4 g$ {ttl}A 192.0.2.$",
            f"0-9/3 d$.r {ttl}TXT x$",
            f"1-2 @ {ttl}TXT made$",
            f"1-2 g$ {ttl}NS ns.example.net.",
            f"1-3 \\103${{0,1,d}} {ttl}TXT y",
            f"5-7 ${{-4,2,x}}.w {ttl}CNAME mail.example.net.",
            f"1-2 a\\$$ {ttl}TXT z",
        ])  # fmt: skip

    def item(self) -> dict:
        """A random record to publish, or to remove."""
        rtype = self.dice.choice(list(WANTED))
        name = self.dice.choice([*NAMES, *ALIASES, "fresh", "w3", "01.w", "g9"])
        state = self.dice.choice(["present", "exact", "absent"])
        values = [] if state == "absent" and self.one_in(2) else WANTED[rtype][: self.dice.choice([1, 2])]
        name = ZONE if name == "@" else f"{name}.{ZONE}"
        rest = {"ttl": self.dice.choice([300, 3600, 5400]), "state": state, "owned_prefix": None}
        return {"name": name, "zone": ZONE, "type": rtype, "values": values, **rest}


def read_by_bind(path) -> Counter | None:
    """Return (owner, type, TTL, wire) of every record as BIND reads the file, the names in lower case; None if it refuses it."""
    command = ["named-checkzone", "-i", "none", "-q", "-D", "-s", "full", "-o", "-", ZONE, str(path)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}, check=False)
    if done.returncode:
        return None
    zone = dns.zone.from_text(done.stdout.decode("latin-1"), origin=ZONE, relativize=False)
    found = Counter()
    for name, ttl, rdata in zone.iterate_rdatas():
        rtype = dns.rdatatype.to_text(rdata.rdtype)
        # Escapes in names have several spellings: ours is what the two are compared in.
        owner = dns_rdata.name_text(name.to_wire()).lower().rstrip(".")
        found[owner, rtype, ttl, rdata.to_digestable(dns.name.root)] += 1
    return found


def key(rtype: str, value) -> bytes:
    return value.wire if rtype == "TXT" else value.key


@pytest.mark.parametrize("batch", range((COUNT + BATCH - 1) // BATCH))
def test_what_bind_reads_is_what_we_read_and_what_we_meant(batch, tmp_path):
    edited = looked_at = 0
    for seed in range(batch * BATCH, min((batch + 1) * BATCH, COUNT)):
        zone = Zone(seed)
        path = tmp_path / "zone"
        path.write_bytes(zone.text.encode("latin-1"))
        before = read_by_bind(path)
        if before is None:  # such as an alias beside other data
            continue
        looked_at += 1
        where = f"seed {seed}:\n{zone.text}"
        file = zone_file.parse(zone.text, ZONE)
        ours = Counter()
        mixed = set()
        for entry in file.entries:
            # BIND passes over what lies outside of the zone.
            if isinstance(entry.value, zone_file.Rdata) and inside(entry.owner, ZONE):
                ours[entry.owner, entry.type, entry.ttl, key(entry.type, entry.value)] = 1
                if file.rrset(entry.owner, entry.type).mixed:
                    mixed.add((entry.owner, entry.type))
        generated = [line.owners for line in file.generated]
        types = {entry.type for entry in file.entries if isinstance(entry.value, zone_file.Rdata)}
        # What comes out of $GENERATE is not read by us, but its names must be known as such.
        theirs = Counter({record: 1 for record in before if record[1] in types})
        for owner, rtype, ttl, wire in theirs - ours:
            if (owner, rtype) not in mixed:
                assert any(pattern.fullmatch(owner) for pattern in generated), f"{owner} {rtype} {ttl} {wire!r}\n{where}"
        for owner, rtype, ttl, _wire in ours - theirs:
            assert (owner, rtype) in mixed or any(pattern.fullmatch(owner) for pattern in generated), f"{owner} {rtype} {ttl}\n{where}"
        edited += edit(zone, file, before, path, where)
    assert looked_at > BATCH // 3 or COUNT < BATCH
    assert edited * 2 >= looked_at


def edit(zone: Zone, file, before: Counter, path, where: str) -> bool:
    """Make a random change, and let BIND tell what it came to; return whether it was made or needed none."""
    item = zone.item()
    where = f"{item}\n{where}"
    batch = dns_plan.in_zones(dns_plan.wanted_records([item]), {})
    wanted = batch[0]
    name, rtype = wanted.key
    try:
        zone_file.check_authority(file, name)
        found = {wanted.key: file.rrset(*wanted.key), (name, "CNAME"): file.rrset(name, "CNAME")}
        changes = dns_plan.plan(batch, found, {name: file.types(name)})
        text = zone_file.edit(file, changes, TODAY)
    except MailError:
        return False
    path.write_bytes(text.encode("latin-1"))
    after = read_by_bind(path)
    if after is None:  # such as a record beside a CNAME that $GENERATE makes: the checker refuses that before the swap
        return False
    change = changes[0]
    there = Counter({record: 1 for record in after if record[:2] == (name, rtype)})
    assert {wire for _name, _type, _ttl, wire in there} == {key(rtype, value) for value in change.after.values}, where
    if change.changed:
        assert {ttl for _name, _type, ttl, _wire in there} <= {change.after.ttl}, where
    rest, rest_before = (Counter({r: 1 for r in records if r[:2] != (name, rtype) and r[1] != "SOA"}) for records in (after, before))
    assert rest == rest_before, f"{(rest - rest_before) or (rest_before - rest)}\n{text}\n{where}"
    return True
