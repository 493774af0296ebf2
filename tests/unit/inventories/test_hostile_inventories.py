# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A thousand inventories: each is refused with the variable's name, or comes back out of every file exactly as it is.

The files are read here by parsers written from the manuals and sources of what reads them;
tests/integration/targets/parsers gives them to the daemons' own.
"""

from __future__ import annotations

import configparser
import functools
import ipaddress
import json
import re

import hostile
from hypothesis import HealthCheck, given, settings

from ansible_collections.postmaster.mail.plugins.module_utils._model import delivery
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import checked_model

EXAMPLES = 1000


# ---- parsers

def texthash(text):
    """postmap(1): '#' first is a comment, a line that begins with white space goes on, a key ends at white space."""
    found = {}
    for line in re.sub(r"\n[ \t]+", " ", text).split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, _space, value = re.match(r"((?:\\.|[^\s\\])+)(\s*)(.*)\Z", line).groups()
        found[key.lower()] = value.strip()
    return found


def addresses(value):
    """A list in a table of Postfix: atoms of RFC 5322, commas."""
    return [part.strip() for part in value.split(",")]


def passwd_file(text):
    """Dovecot: '#' first is a comment, fields end at ':'."""
    lines = [line.split(":") for line in text.split("\n") if line and line[0] not in "#:"]
    return {fields[0]: fields[1:] for fields in lines}


def smtpd_table(text):
    """table(5): a key ends at white space or ':'."""
    found = {}
    for line in text.split("\n"):
        line = line.strip()
        if line and line[0] != "#":
            key, *value = re.split(r"[ \t:]+", line, maxsplit=1)
            found[key] = value[0] if value else ""
    return found


def expand_line(value):
    """The right side of an alias of OpenSMTPD, as expand.c splits it; None where it fails."""
    if len(value) >= 2048:
        return None
    parts, part, quoted, escaped = [], "", "", False
    for char in value:
        if escaped:
            part, escaped = part + char, False
        elif char == "\\":
            escaped = True
        elif char == "," and not quoted:
            parts, part = [*parts, part.strip()], ""
        else:
            part += char
            if char in "\"'" and quoted in ("", char):
                quoted = "" if quoted else char
    if quoted or escaped:
        return None
    parts.append(part.strip())
    if any(part[0] in "|/" or part.startswith((":include:", "error:", ":error:")) for part in parts):
        return None
    return parts


def kv_map(text):
    """A map of Rspamd, as map_helpers.c reads it: '#' begins a comment wherever it stands."""
    found = {}
    for line in text.split("\n"):
        key, _space, value = line.partition("#")[0].strip().partition(" ")
        if key:
            assert key[0] not in "\"/"
            found[key] = value.strip()
    return found


def logical_lines(text, join, comment="#"):
    """The lines of a configuration without those of comments, with what goes on in the next line joined."""
    return [line for line in re.sub(join, " ", text).split("\n") if line.strip() and not line.lstrip().startswith(comment)]


def main_cf(text):
    return dict(re.split(r"\s*=\s*", line.strip(), maxsplit=1) for line in logical_lines(text, r"\n[ \t]+"))


def words(line):
    """The words of a line of a configuration of OpenBSD: strings in quotation marks are one."""
    return [quoted if mark else plain for mark, quoted, plain in re.findall(r'(")((?:\\"|[^"])*)"|([^\s"{},]+|[{},])', line)]


def shape(text, join=r"\\\n", comment="#"):
    """The first word of each line: what a value cannot change."""
    return [words(line)[0] for line in logical_lines(text, join, comment)]


def dovecot_value(text, name):
    """A setting of Dovecot: '#' begins a comment outside of quotation marks, '$' and '%' a variable."""
    (value,) = re.findall(rf"(?m)^{name} = (.*)$", text)
    if value.startswith('"'):
        value = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value)[1]
        value = re.sub(r"\\(.)", r"\1", value)
    else:
        assert not re.search(r"[#$\"'\s]", value), value
    assert "%" not in value.replace("%%", "")
    return value.replace("%%", "%")


def rules(conf):
    """The rules of smtpd.conf, by their first words."""
    return [word for word in shape(conf) if word in ("match", "action", "listen", "filter", "include")]


def rules_of(routes):
    """Those of routes between as many domains, whose names are plain."""
    ways = {key: {f"{key}{number}.example": way or "direct" for number, way in enumerate(routes[key].values())} for key in ("to", "from")}
    return _rules_of(json.dumps({**hostile.BASE["mail_routes"], **ways}))


@functools.cache
def _rules_of(routes):
    return rules(hostile.rendered({**hostile.BASE, "mail_routes": json.loads(routes)})["opensmtpd"]["etc/smtpd.conf"])


# ---- the property

def check_refused(inventory, rules):
    for rule in rules:
        assert re.match(r"(mail|certificate|dovecot|opensmtpd|postfix|protection|resolver|rspamd)_|alias '", rule), rule
        assert len(rule) <= 2000, rule[:200]
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", rule), rule


def check_carried(inventory):
    """Read every file, and compare with what the inventory says."""
    shared = {name.removeprefix("mail_"): value for name, value in inventory.items() if name.startswith("mail_")}
    model = checked_model(shared, "Debian")
    tables = delivery.delivery(model)
    files = {name: text for made in hostile.rendered(inventory).values() for name, text in made.items()}
    for name, text in files.items():
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), name
    read = ("aliases", "senders", "system", "mailboxes", "transport", "no_mail")
    postfix = {name: texthash(files[f"etc/postfix/tables/{name}"]) for name in read}
    # The marked form of what is elsewhere is Postfix's own.
    unmarked = {name: [target.removesuffix(".srs.invalid") for target in addresses(value)] for name, value in postfix["aliases"].items()}
    refused = {name: f"550 5.2.1 {text}" for name, text in tables["no_mail"].items() if text}
    assert unmarked == {**tables["aliases"], **{name: [name] for name in tables["no_mail"]}}
    assert postfix["no_mail"] == refused
    system = {name: [target.removesuffix(".srs.invalid") for target in addresses(value)] for name, value in postfix["system"].items()}
    assert system == tables["system"]
    # local(8)
    assert not [target for targets in system.values() for target in targets if target[0] in "|/\"" or target.startswith(":include:")]
    senders = {name: logins or ["-"] for name, logins in tables["senders"].items()}
    assert {name: addresses(value) for name, value in postfix["senders"].items()} == senders
    assert list(postfix["mailboxes"]) == tables["mailboxes"]
    assert not [name for name in (*unmarked, *postfix["senders"]) if re.search(r"\A-|[!%]", name)]  # resolve.c
    slow = {domain for options in model["slow_destinations"].values() for domain in options["domains"]}
    # What takes a smarthost anyway is not sent slowly.
    routes = model["routes"]
    assert set(postfix["transport"]) - {".srs.invalid"} == (
        (set() if routes["default"] else slow) | set(routes["to"]) | tables["no_mail"].keys()
    )
    parameters = main_cf(files["etc/postfix/main.cf"])
    assert parameters["myhostname"] == model["fqdn"]
    assert parameters["virtual_mailbox_domains"] == ", ".join(tables["domains"])
    assert parameters["smtpd_tls_chain_files"].startswith(f"{inventory['postfix_tls_key']}, ")
    assert parameters["smtpd_milters"] == inventory["postfix_milter"].strip()
    own = {name for name in parameters if not name.startswith("slow-")}
    # Where no filter does it, Postfix takes out headers that only a filter writes.
    without_filter = set() if parameters["smtpd_milters"] else {"header_checks", "mime_header_checks", "nested_header_checks"}
    assert own == {name for name in BASE_PARAMETERS if not name.startswith("slow-")} | without_filter

    assert passwd_file(files["etc/dovecot/users"]).keys() == model["users"].keys()
    # As Dovecot looks a name up: behind =, and with a backslash before an apostrophe.
    known = {name if name.startswith("@") else "=" + name.replace("'", "\\'") for name in delivery.recipients(tables, model["fqdn"])}
    assert not passwd_file(files["etc/dovecot/aliases"]).keys() - known
    lines = [line for line in files["etc/dovecot/aliases"].split("\n") if line]
    assert len(lines) == len(passwd_file(files["etc/dovecot/aliases"]))
    assert dovecot_value(files["etc/dovecot/dovecot.conf"], "postmaster_address") == model["postmaster"]


    read = ("aliases", "recipients", "domains", "credentials", "owners", "no_mail", "discarded")
    smtpd = {name: smtpd_table(files[f"etc/smtpd/tables/{name}"]) for name in read}
    for name, targets in tables["aliases"].items():
        delivered = ["vmail" if target == name and name in model["users"] else target for target in targets]
        assert expand_line(smtpd["aliases"][name]) == delivered, name
    assert smtpd["no_mail"] == refused
    assert smtpd["discarded"].keys() == {name for name, text in tables["no_mail"].items() if not text}
    assert smtpd["recipients"].keys() == smtpd["aliases"].keys()
    assert smtpd["credentials"].keys() == model["users"].keys()
    assert {name: addresses(value) for name, value in smtpd["owners"].items()} == senders
    conf = files["etc/smtpd.conf"]
    assert rules(conf) == rules_of(routes)
    (trusted,) = (line for line in logical_lines(conf, r"\\\n") if line.startswith("table trusted "))
    relays = {host: name for name, relay in model["relays"].items() for host in relay["hosts"]}
    networks = ["127.0.0.0/8", "::1", *model["filter"]["trusted"], *relays]
    assert [word for word in words(trusted)[2:] if word not in "{},"] == networks
    assert kv_map(files["etc/rspamd/local.d/maps.d/postmaster-mail-relays.map"]) == kv_map(files["etc/smtpd/tables/relays"]) == relays
    assert {network: name.removeprefix("relay_") for network, name in texthash(files["etc/postfix/tables/relays"]).items()} == relays

    assert kv_map(files["etc/rspamd/local.d/maps.d/postmaster-mail-senders.map"]) == {
        name: " ".join(logins) for name, logins in senders.items()
    }
    (asked,) = re.findall(r"nameserver = (.*);\n", files["etc/rspamd/local.d/options.inc"])
    assert json.loads(asked) == inventory["rspamd_nameservers"]

    jail = configparser.ConfigParser(interpolation=None)
    jail.read_string(files["etc/fail2ban/jail.d/postmaster-mail.local"])
    never = map(ipaddress.ip_network, jail["DEFAULT"]["ignoreip"].split())
    assert list(never) == [ipaddress.ip_network(network) for network in inventory["protection_trusted"]]
    assert not re.search(r"[%$<]", jail["DEFAULT"]["ignoreip"] + jail["DEFAULT"]["bantime"])
    assert shape(files["pf/pf.mail.conf"]) == BASE_PF

    ini = logical_lines(files["etc/postmaster-mail/certbot-rfc2136.ini"], "$^")
    assert [line.partition(" = ")[0] for line in ini] == [f"dns_rfc2136_{name}" for name in ("server", "port", "name", "secret",
        "algorithm")]
    assert ini[0].partition(" = ")[2] == model["dns"]["server"] and ini[3].partition(" = ")[2] == model["dns"]["key_secret"]
    acme = files["etc/acme-client.mail.conf"]
    assert re.sub(r"alternative\n", "", "\n".join(shape(acme)) + "\n") == BASE_ACME
    if model["certificates"]["directory"]:
        assert words(next(line for line in acme.split("\n") if "api url" in line))[2] == model["certificates"]["directory"]
    assert [line for line in files["client/resolv.conf"].split("\n") if line.startswith("search ")] == [
        " ".join(["search", *inventory["resolver_search"]])
    ][: len(inventory["resolver_search"])]  # fmt: skip


_FILES = {name: text for made in hostile.rendered(hostile.BASE).values() for name, text in made.items()}
BASE_PARAMETERS = main_cf(_FILES["etc/postfix/main.cf"])
BASE_PF = shape(_FILES["pf/pf.mail.conf"])
BASE_ACME = "\n".join(shape(_FILES["etc/acme-client.mail.conf"])) + "\n"


def test_the_lawful_inventory_is_carried():
    assert hostile.problems(hostile.BASE) == []
    check_carried(hostile.BASE)


def test_every_character_is_refused_by_name_or_carried_exactly():
    for inventory in hostile.systematic():
        rules = hostile.problems(inventory)
        check_refused(inventory, rules)
        if not rules:
            check_carried(inventory)


def test_inventories_are_refused_by_name_or_carried_exactly():
    counts = {"refused": 0, "carried": 0}

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hostile.inventories())
    def run(inventory):
        rules = hostile.problems(inventory)
        if rules:
            counts["refused"] += 1
            check_refused(inventory, rules)
        else:
            counts["carried"] += 1
            check_carried(inventory)

    run()
    assert min(counts.values()) > EXAMPLES / 10, counts  # both happen


def test_the_contact_of_acme_is_one_that_its_uri_carries():
    """By default it is the postmaster; what a mailto URI would read otherwise is not written into one."""
    for postmaster, contact in (("a&b@elsewhere.example", "a&b"), ("a#b@elsewhere.example", "me"), ("a?b@elsewhere.example", "me")):
        inventory = {**hostile.BASE, "mail_postmaster": postmaster, "mail_certificates": {}}
        assert hostile.problems(inventory) == []
        text = hostile.rendered(inventory)["certificate"]["etc/acme-client.mail.conf"]
        assert re.search(r'contact "mailto:(.*)@', text)[1] == contact


def test_this_host_is_refused_what_it_forges_also_where_it_is_trusted():
    """Of several settings for a message Rspamd takes those of the highest priority, and those of trusted networks refuse nothing."""
    inventory = {**hostile.BASE, "mail_filter": {"trusted": ["127.0.0.1"]}}
    text = hostile.rendered(inventory)["rspamd"]["etc/rspamd/local.d/settings.conf"]
    priorities = re.findall(r'^(\w+) \{\n  priority = "(\w+)";', text, re.MULTILINE)
    assert sorted(priorities, key=lambda pair: ["high", "medium", "low"].index(pair[1])) == [
        ("authenticated", "high"), ("host", "medium"), ("trusted", "low")
    ]  # fmt: skip


def test_forwarded_mail_may_grow_on_its_way():
    """With the headers that it has got here it is larger than when it was taken, and would be bounced."""
    text = hostile.rendered(hostile.BASE)["postfix"]["etc/postfix/master.cf"]
    services = {part.partition(" ")[0]: part for part in re.split(r"\n(?=\S)", text)}
    assert [name for name, part in services.items() if "-o message_size_limit=0" in part] == ["forwarded", "cleanup-forward"]
