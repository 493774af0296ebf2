# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The zones of the test network, from the inventory: pure functions, records in, text out."""

from __future__ import annotations

import ipaddress

from testnet_lib.plan import CLIENTS, PREFIX4, PREFIX6, Inventory, ipv4, ipv6

Record = tuple[str, str, str]  # owner without final dot ("" is the root), type, rdata
Zones = dict[str, list[Record]]

SERVER = "ns.test"
TTL = 10  # short: tests change records and look again
REVERSE4 = ".".join(reversed(PREFIX4.rstrip(".").split("."))) + ".in-addr.arpa"
REVERSE6 = ipaddress.ip_address(PREFIX6).reverse_pointer[32:]
LISTED = (8, 14)  # the clients that dnsbl.test lists
SCORED = 11  # the client with a score
ROUTED = ("routed", "implicit", "unverified", "fallback")
# The rules of RFC 5782 section 5: an entry that is always there; ::1 and 127.0.0.1 never are.
_DNSBL_TEST = ("127.0.0.2", "::ffff:7f00:2")


def reversed_in(address: str, zone: str) -> str:
    """Return the name under which a DNSBL zone lists an address."""
    return ipaddress.ip_address(address).reverse_pointer.rsplit(".", 2)[0] + "." + zone


def parent(zone: str, zones: Zones) -> str:
    """Return the closest zone above."""
    while zone:
        zone = zone.partition(".")[2]
        if zone in zones:
            return zone
    return ""


def _text(value: str) -> str:
    pieces = [value[start:start + 255] for start in range(0, len(value), 255)]
    return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


def build(inventory: Inventory, delegation_signers: dict[str, str], texts: dict[str, str], tlsa: str) -> Zones:
    """Return every zone with its records, SOA and DNSSEC records apart.

    :param delegation_signers: zone -> rdata of its DS record
    :param texts: owner -> TXT value, for what depends on keys (DKIM)
    :param tlsa: rdata of the receiver's TLSA record
    """
    zones: Zones = {"": [], "org": [], "net": [], "test": [], "bigmail.test": [], "client.test": [],
                    "dnsbl.test": [], "dbl.test": [], "broken-dnsbl.test": [], "score.senderscore.com": [], REVERSE4: [], REVERSE6: []}
    for zone in inventory.user_zones:
        zones.setdefault(zone, [])

    def add(owner: str, kind: str, rdata: str) -> None:
        zone = owner if owner in zones else parent(owner, zones)
        zones[zone].append((owner, kind, rdata))

    for host in inventory.hosts.values():
        add(host.name, "A", ipv4(host.number))
        add(host.name, "AAAA", ipv6(host.number))
        for address in (ipv4(host.number), ipv6(host.number)):
            add(ipaddress.ip_address(address).reverse_pointer, "PTR", host.name + ".")
    for number, (reverse, names) in CLIENTS.items():
        for name in names:
            add(name, "A", ipv4(number))
            add(name, "AAAA", ipv6(number))
        for address in (ipv4(number), ipv6(number)):
            if reverse:
                add(ipaddress.ip_address(address).reverse_pointer, "PTR", reverse + ".")
    add("liar.client.test", "A", ipv4(5))
    add("liar.client.test", "AAAA", ipv6(5))

    # A sending domain outside: whoever is not 1, 4 or 5 is told apart from it.
    honest = " ".join(f"ip4:{ipv4(number)} ip6:{ipv6(number)}" for number in (1, 4, 5))
    add("client.test", "MX", "10 client.test.")
    add("client.test", "TXT", _text(f"v=spf1 {honest} -all"))
    add("_dmarc.client.test", "TXT", _text("v=DMARC1; p=reject"))
    for name in CLIENTS[1][1] + CLIENTS[4][1] + CLIENTS[5][1]:
        if name != "client.test":
            add(name, "TXT", _text("v=spf1 a -all"))

    add("bigmail.test", "MX", "10 mx.bigmail.test.")
    # The same machine, reached over one address family only.
    for family, kind, address in (("ipv4", "A", ipv4(10)), ("ipv6", "AAAA", ipv6(10))):
        add(f"{family}.bigmail.test", "MX", f"10 mx-{family}.bigmail.test.")
        add(f"mx-{family}.bigmail.test", kind, address)
    # Further domains of its, to which mail may take other ways.
    for name in ROUTED:
        add(f"{name}.bigmail.test", "MX", "10 mx.bigmail.test.")
    # The smarthost, under a name that its certificate does not have, and one of an address that nobody has.
    for name, number in (("wrong", 12), ("dead", 13)):
        add(f"{name}.smarthost.test", "A", ipv4(number))
        add(f"{name}.smarthost.test", "AAAA", ipv6(number))
    add("smarthost.test", "TXT", _text("v=spf1 a -all"))
    add("bigmail.test", "TXT", _text("v=spf1 mx -all"))
    add("mx.bigmail.test", "TXT", _text("v=spf1 a -all"))
    add("_dmarc.bigmail.test", "TXT", _text("v=DMARC1; p=reject; adkim=s; aspf=s"))
    add("_25._tcp.mx.bigmail.test", "TLSA", tlsa)
    for owner, value in texts.items():
        add(owner, "TXT", _text(value))

    # Of a server under test, which sends for it and takes no mail for it.
    if "example.org" in zones:
        add("old.example.org", "MX", "10 mx.bigmail.test.")

    for address in (*_DNSBL_TEST, *map(ipv4, LISTED), *map(ipv6, LISTED)):
        owner = reversed_in(address, "dnsbl.test")
        add(owner, "A", "127.0.0.2")
        add(owner, "TXT", _text(f"{address} is listed, see https://dnsbl.test/why"))
    # By name (RFC 5782 section 5): TEST is listed, INVALID is not.
    for name in ("test", "spam.test"):
        add(f"{name}.dbl.test", "A", "127.0.0.2")
        add(f"{name}.dbl.test", "TXT", _text(f"{name} is listed"))
    # A list that answers like this wants no queries from here; nobody is listed by it.
    add("*.broken-dnsbl.test", "A", "127.255.255.254")
    add("*.broken-dnsbl.test", "TXT", _text("error: query refused, open resolver"))

    add(reversed_in(ipv4(SCORED), "score.senderscore.com"), "A", "127.0.4.45")

    for zone in zones:
        zones[zone].append((zone, "NS", SERVER + "."))
        if zone:
            zones[parent(zone, zones)].append((zone, "NS", SERVER + "."))
            if zone in delegation_signers:
                zones[parent(zone, zones)].append((zone, "DS", delegation_signers[zone]))
    for kind, address in (("A", ipv4(2)), ("AAAA", ipv6(2))):  # glue
        for zone in ("", "test"):
            if (SERVER, kind, address) not in zones[zone]:
                zones[zone].append((SERVER, kind, address))
    return zones


def zone_file(zone: str, records: list[Record]) -> str:
    """Return a zone in the form that named reads at its first start."""
    lines = [f"{zone}. {TTL} IN SOA {SERVER}. hostmaster.{zone or 'test'}. 1 3600 600 86400 2"]
    lines += [f"{owner}. {TTL} IN {kind} {rdata}" for owner, kind, rdata in records]
    return "\n".join(lines) + "\n"


def update(old: list[Record], new: list[Record]) -> list[str]:
    """Return nsupdate's lines that lead from one set of records to another."""
    lines = [f"update delete {owner}. {kind} {rdata}" for owner, kind, rdata in old if (owner, kind, rdata) not in new]
    return lines + [f"update add {owner}. {TTL} {kind} {rdata}" for owner, kind, rdata in new if (owner, kind, rdata) not in old]


def file_name(zone: str) -> str:
    """Return the name of a zone's file."""
    return f"{zone or 'root'}.zone"


def named_conf(inventory: Inventory, zones: Zones, internal_secret: str) -> str:
    """Return named's whole configuration."""
    users, reverse = inventory.variables["testnet_tsig"], inventory.variables["testnet_tsig_reverse"]
    keys = [(users["name"], users["algorithm"], users["secret"]), (reverse["name"], reverse["algorithm"], reverse["secret"]),
            ("internal.tsig.test", "hmac-sha256", internal_secret)]
    lines = [f'key "{name}" {{ algorithm {algorithm}; secret "{secret}"; }};' for name, algorithm, secret in keys]
    transfer = "".join(f' key "{name}";' for name, _algorithm, _secret in keys)
    lines.append(f"""
options {{
  directory "/var/cache/bind";
  key-directory "/var/lib/bind/keys";
  listen-on {{ any; }};
  listen-on-v6 {{ any; }};
  allow-query {{ any; }};
  allow-recursion {{ any; }};
  allow-transfer {{{transfer} }};
  notify no;
  dnssec-validation no;
  empty-zones-enable no;
}};
{POLICY}""")
    for zone in zones:
        who = ["internal.tsig.test"]
        if zone in inventory.user_zones:
            who.append(users["name"])
        if zone in (REVERSE4, REVERSE6):
            who.append(reverse["name"])
        allowed = "".join(f' key "{name}";' for name in who)
        lines.append(f'zone "{zone or "."}" {{ type primary; file "/var/lib/bind/{file_name(zone)}"; '
                     f"dnssec-policy testnet; inline-signing no; allow-update {{{allowed} }}; }};")
    return "\n".join(lines) + "\n"


# One key per zone that never rolls. An update and its signatures become visible in one step (no inline signing).
POLICY = """dnssec-policy "testnet" {
  keys { csk lifetime unlimited algorithm ecdsap256sha256; };
  dnskey-ttl 10;
  max-zone-ttl 3600;
};
"""
