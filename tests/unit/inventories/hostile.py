# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories of somebody careless, unlucky or hostile, and the files that the roles' templates make of those that pass the checks."""

from __future__ import annotations

import copy
import datetime
import functools
import importlib
import re
from pathlib import Path

import jinja2
import yaml
from ansible.plugins.filter import core, mathstuff, urlsplit
from hypothesis import strategies as st

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import checked_model, packed

ROOT = Path(__file__).resolve().parents[3]
HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

#: One that is lawful and uses what there is.
BASE = {
    "mail_fqdn": "mail.example.org",
    "mail_addresses": ["198.51.100.25", "2001:db8:100::25"],
    "mail_domains": {
        "example.org": {},
        "example.net": {"catch_all": ["me@example.org"], "spf": {"terms": ["include:spf.example.com"]}, "mx": {"mx.isp.example": 20}},
        "twin.example.org": {"alias_of": "example.org"},
    },
    "mail_mx_preference": 5,
    "mail_users": {"me@example.org": {"password_hash": HASH, "quota": "1G", "limit": 500, "senders": ["Sales@example.net"]}},
    "mail_aliases": {"info@example.org": ["me@example.org", "someone@elsewhere.example"],
                     "closed@example.org": {"refuse": "Nobody reads this"}, "noreply@example.net": {"discard": True}},
    "mail_postmaster": "owner@elsewhere.example",
    "mail_dns": {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "mail", "key_secret": "c2VjcmV0c2VjcmV0"},
    "mail_certificates": {"method": "acme-http", "email": "me@example.org", "directory": "https://acme.example/dir", "ca": PEM},
    "mail_filter": {"trusted": ["192.0.2.0/24", "2001:db8:7::/48"]},
    "mail_slow_destinations": {"orange": {"domains": ["orange.example"], "mx": ["mx.orange.example"], "connections": 2, "delay": 1}},
    "mail_outbound": {"warm_up": "2026-12-01", "tls_exceptions": {"partner.example": "none"}},
    "mail_limits": {"hour": 100, "day": 300},
    "mail_routes": {
        "hosts": {"isp": {"host": "smtp.isp.example", "user": "me", "password": "s3cret", "spf": ["include:spf.isp.example"]},
                  "spare": {"host": "relay.example", "port": 465, "ca": PEM}},
        "default": "isp", "to": {"far.example": "spare", "near.example": "direct"}, "from": {"example.net": "spare"},
    },
    "mail_relays": {"scanner": {"hosts": ["192.0.2.9", "2001:db8:9::/64"], "domains": ["example.org"], "limit": 20}},
    "mail_queue": {"lifetime": "3d", "bounce_lifetime": "7d", "warn_after": "2h"},
    "postfix_trusted_networks": ["127.0.0.0/8", "[::1]/128"],
    "postfix_milter": "inet:127.0.0.1:11332",
    "postfix_tls_key": "/etc/ssl/mail.key",
    "dovecot_mail_home": "/var/vmail",
    "dovecot_junk_headers": {"X-Spam": "Yes*"},
    "opensmtpd_tls_chain": "/etc/ssl/mail.pem",
    "opensmtpd_dynamic": "junk",
    "opensmtpd_dynamic_names_more": ["(^|[.])pool[0-9]"],
    "protection_trusted": ["127.0.0.0/8", "::1"],
    "resolver_forwarders": ["192.0.2.53"],
    "resolver_search": ["example.org"],
    "rspamd_nameservers": ["127.0.0.1"],
    "rspamd_dnsbls": [{"zone": "dnsbl.example", "score": 2}],
    "rspamd_signing": {"example.org": {"selector": "s1", "path": "/var/lib/rspamd/dkim/example.org.s1.key"}},
}

LONG = "x" * 300
PIECES = [
    "\n", "\r\n", "\nx = y\n", "\0", "\t", " ", '"', "'", "\\", "\\\n", "#", " #", "$", "${x}", "$(id)", "$x", "`id`", "%", "%{user}",
        "%(x)s", "%%",
    "{", "}", "{{ 7 }}", "{%", "|", "||", "/", "//", ":", "::", ":include:/etc/passwd", ";", ",", "@", "!", "*", "[", "]", "<", ">", "<<",
        "&", "=",
    "+", "~", "^", "-", "--", "?", "..", "\x7f", "\x85", "\u2028", "\u00a0", "\u212a", "\u017f", "\u0131", "\u00b2", "\uff11", "\u0660",
        "\udc80", "\u00e9",
    "\u202e", LONG, '" }\nmatch from any for any action "send" #', "\r", "\x1b[31m",
]  # fmt: skip
SEEDS = {
    "address": ["a@example.org", "o'brien@example.org", "a&b@example.org", "x=y@example.net", "b@elsewhere.example", "A.B@Example.ORG",
        "a{b}@example.org",
                "`@example.org", "$1@elsewhere.example", "-a@example.org", "#a@elsewhere.example", "*x@example.org", "a|b@example.org",
                    "?@elsewhere.example", "x%y@elsewhere.example",
                "a^b~c@example.net", "$x{y}@elsewhere.example", "a/b@example.net", "~a@example.org", "a@example.org."],
    "domain": ["example.com", "Example.COM.", "xn--bcher-kva.example", "a-b.example", "1.example", "localhost", f"{'a' * 63}.example"],
    "ip": ["198.51.100.7", "2001:db8::7", "::ffff:198.51.100.7", "fe80::1%eth0", "2001:db8::1%", "198.51.100.07", "0.0.0.0"],
    "network": ["192.0.2.0/24", "2001:db8::/32", "192.0.2.1/24", "::/0", "192.0.2.7", "192.0.2.0/255.255.255.0", "[2001:db8::]/32",
        "!192.0.2.1"],
    "path": ["/etc/ssl/x.pem", "/srv/mail-1/a_b", "relative/x", "/", "/a/../b", "/etc/ssl/%h.pem", "/etc/ssl/m@il.pem"],
    "url": ["https://acme.example/dir", "https://acme.example:14000/a?b=c&d=%20#e", "http://acme.example/", "https://[2001:db8::1]/x"],
    "text": ["me", "mail-1", "Yes*", "", "0"],
    "regex": ["(^|[.])pool", "a{2}", "[[:alnum:]]x", "x$", "\\.", "(x"],
}  # fmt: skip
KINDS = [None, True, False, 0, -1, 7, 3.5, float("inf"), float("nan"), 2**70, [], {}, [[]], {"a": {}}, b"x", "x" * 100_000]


@st.composite
def twisted(draw, kind):
    """A text of its kind, as it is or with a piece in it that means something to some program."""
    text = draw(st.sampled_from(SEEDS[kind]))
    for _again in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        piece, place = draw(st.sampled_from(PIECES)), draw(st.integers(0, len(text)))
        text = text[:place] + piece + text[place:]
    return text


def _key(where, kind):
    """A value, or one of another type."""
    return st.tuples(st.just(where), st.one_of(*[twisted(kind)] * 8, st.sampled_from(KINDS)))


#: Where an inventory is changed: the names of its dictionaries and lists, and None for a key that is made of a value itself.
CHANGES = st.one_of(
    *(
        _key(where, kind)
        for where, kind in [
            (("mail_fqdn",), "domain"), (("mail_addresses", 0), "ip"), (("mail_domains", None), "domain"),
            (("mail_domains", "example.net", "catch_all"), "address"), (("mail_domains", "twin.example.org", "alias_of"), "domain"),
            (("mail_domains", "example.net", "alias_of"), "domain"), (("mail_domains", "example.org", "txt", None), "text"),
            (("mail_domains", "example.org", "txt", "x"), "text"), (("mail_domains", "example.org", "dkim", "selector"), "text"),
            (("mail_domains", "example.org", "dmarc", "rua"), "address"), (("mail_domains", "example.net", "spf", "terms", 0), "text"),
            (("mail_domains", "example.net", "mx", None), "domain"), (("mail_domains", "example.net", "mx", "mx.isp.example"), "text"),
            (("mail_mx_preference",), "text"),
            (("mail_users", None), "address"), (("mail_users", "me@example.org", "senders", 0), "address"),
            (("mail_users", "me@example.org", "quota"), "text"), (("mail_aliases", None), "address"), (("mail_aliases", None), "address"),
            (("mail_aliases", "info@example.org", 0), "address"), (("mail_aliases", "info@example.org", 1), "address"),
            (("mail_aliases", "closed@example.org", "refuse"), "text"),
            (("mail_recipient_delimiter",), "text"), (("mail_postmaster",), "address"), (("mail_dns", "server"), "ip"),
            (("mail_dns", "key_name"), "text"),
            (("mail_dns", "key_secret"), "text"), (("mail_certificates", "email"), "address"), (("mail_certificates", "directory"), "url"),
            (("mail_certificates", "names"), "domain"), (("mail_filter", "trusted", 0), "network"),
            (("mail_slow_destinations", None), "text"), (("mail_routes", "to", None), "domain"),
            (("mail_routes", "from", None), "domain"), (("mail_slow_destinations", "orange", "domains"), "domain"),
            (("mail_routes", "hosts", "isp", "host"), "domain"), (("mail_routes", "hosts", "isp", "user"), "address"),
            (("mail_routes", "hosts", "isp", "password"), "text"), (("mail_routes", "hosts", "isp", "spf", 0), "text"),
            (("mail_routes", "hosts", "spare", "ca"), "path"), (("mail_routes", "to", "far.example"), "text"),
            (("mail_relays", "scanner", "hosts", 0), "network"),
            (("mail_relays", "scanner", "domains", 0), "domain"), (("mail_relays", "scanner", "login"), "address"),
            (("postfix_trusted_networks", 0), "network"), (("postfix_milter",), "text"), (("postfix_tls_key",), "path"),
            (("dovecot_mail_home",), "path"), (("dovecot_junk_headers", None), "text"), (("dovecot_junk_headers", "X-Spam"), "text"),
            (("dovecot_mail_user",), "text"), (("opensmtpd_tls_chain",), "path"), (("opensmtpd_dynamic_names_more", 0), "regex"),
            (("protection_trusted", 0), "network"), (("resolver_forwarders", 0), "ip"), (("resolver_search", 0), "domain"),
            (("rspamd_nameservers", 0), "ip"), (("rspamd_dnsbls", 0), "domain"), (("rspamd_signing", "example.org", "path"), "path"),
            (("certificate_webroot",), "path"), (("protection_ban_seconds",), "text"), (("postfix_message_size_limit",), "text"),
        ]
    )
)  # fmt: skip


#: All that RFC 5322 section 3.2.3 allows in a local part; what most sinks carry more often, since one refusal ends an inventory.
_LOCAL = st.text(st.sampled_from("ab1$&'*/=?^_`{|}~+-" * 5 + "#!%" * 3), min_size=1, max_size=5)


@st.composite
def addressed(draw):
    """An inventory with addresses of unusual characters wherever there is one."""
    found = copy.deepcopy(BASE)
    names, targets = draw(st.lists(_LOCAL, min_size=1, max_size=2)), draw(st.lists(_LOCAL, min_size=1, max_size=2))
    elsewhere = [f"{local}@elsewhere.example" for local in targets]
    found["mail_aliases"].update({f"{local}@example.org": elsewhere if draw(st.booleans()) else ["me@example.org"] for local in names})
    if draw(st.booleans()):
        found["mail_postmaster"] = elsewhere[0]
    elif draw(st.booleans()):
        found["mail_users"]["me@example.org"]["senders"] = [f"{local}@example.net" for local in names]
    else:
        found["mail_domains"]["example.net"]["catch_all"] = elsewhere
    return found


@st.composite
def changed(draw):
    """An inventory with one or two changes."""
    found = copy.deepcopy(BASE)
    for where, value in draw(st.lists(CHANGES, min_size=1, max_size=2)):
        at = found
        for name in where[:-1]:
            if isinstance(at, dict):
                at = at.setdefault(name, {})
            elif isinstance(at, list) and isinstance(name, int) and name < len(at):
                at = at[name]
            else:
                break
        last = where[-1]
        if last is None and isinstance(at, dict) and isinstance(value, (str, int, float, type(None))):
            at[value] = {
                "mail_domains": {}, "mail_users": {"password_hash": HASH}, "mail_aliases": ["me@example.org"],
                "mail_slow_destinations": {"domains": ["slow.example"]},
                # One that has a rule for each direction already.
                "mail_routes": "spare",
            }.get(where[0], "x")  # fmt: skip
        elif isinstance(at, dict) or (isinstance(at, list) and isinstance(last, int) and last < len(at)):
            at[last] = value
    return found


def inventories():
    return st.one_of(changed(), changed(), addressed())


def systematic():
    """Every character that an address or a path may have, first and in the middle, in each place that has one; the longest names."""
    for char in "$&'*/=?^_`{|}~+-#!%":
        for local in (f"{char}a", f"a{char}b"):
            forward = copy.deepcopy(BASE)
            forward["mail_postmaster"] = forward["mail_aliases"]["info@example.org"][1] = f"{local}@elsewhere.example"
            yield forward
            ours = copy.deepcopy(BASE)
            ours["mail_aliases"][f"{local}@example.org"] = ["me@example.org"]
            ours["mail_users"]["me@example.org"]["senders"] = [f"{local}@example.net"]
            yield ours
            silent = copy.deepcopy(BASE)
            silent["mail_aliases"][f"{local}@example.net"] = {"discard": True}
            silent["mail_aliases"][f"{local}@example.org"] = {"refuse": f"x{char}{char}y"}
            yield silent
        yield {**BASE, "mail_recipient_delimiter": char}
    for char in "\"'#$%;,\\ {}@=~+&|<>()*?:!":
        yield {**BASE, "postfix_tls_key": f"/etc/ssl/a{char}b.key"}
        yield {**BASE, "opensmtpd_tls_chain": f"/etc/ssl/a{char}b.pem", "dovecot_mail_home": f"/var/a{char}b"}
    # The longest name that a host can have, and one octet more.
    for octets in (64, 65):
        yield {**BASE, "mail_fqdn": f"{'a' * (octets - len('.example.org'))}.example.org"}


# ---- the checks, as inventory_verify makes them

_OPTIONS = {}
for _path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
    for _entry in yaml.safe_load(_path.read_text())["argument_specs"].values():
        _OPTIONS.update(_entry.get("options", {}))


def problems(inventory):
    """Every rule that an inventory breaks."""
    from ansible_collections.postmaster.mail.plugins.module_utils._model import types  # it needs ansible-core, and is slow to load

    found = []
    shared = {name.removeprefix("mail_"): value for name, value in inventory.items() if name.startswith("mail_")}
    try:
        checked_model(shared, "Debian")
    except MailError as exc:
        found += exc.rules
    own = {name: value for name, value in inventory.items() if not name.startswith("mail_")}
    wrong = types.type_errors({name: _OPTIONS[name] for name in own}, own)
    found += wrong
    found += sinks.variable_errors(_OPTIONS, own, {line.split(" ", 1)[0] for line in wrong})
    if not found:
        for role in ("postfix", "opensmtpd", "rspamd", "resolver"):
            try:
                variables = Variables(role, inventory)
                for name in variables.raw[f"__{role}_checked"]:
                    variables[name]
            except Exception as exc:
                cause = exc
                while cause is not None and not isinstance(cause, MailError):
                    cause = cause.__cause__ or cause.__context__
                if cause is None:
                    raise
                found += cause.rules
    return found


# ---- the files

_FILTERS = {}
for _module in (core, mathstuff, urlsplit):
    for _name, _function in _module.FilterModule().filters().items():
        _FILTERS[_name] = _FILTERS[f"ansible.builtin.{_name}"] = _function
for _path in sorted((ROOT / "plugins/filter").glob("[a-z_]*.py")):
    _module = importlib.import_module(f"ansible_collections.postmaster.mail.plugins.filter.{_path.stem}")
    for _name, _function in _module.FilterModule().filters().items():
        _FILTERS[f"postmaster.mail.{_name}"] = _function

_LOADED = {}


def _load(path):
    if path not in _LOADED:
        _LOADED[path] = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    return _LOADED[path]


class _Context(jinja2.runtime.Context):
    """Looks for variables one by one, as Ansible does."""

    def resolve_or_missing(self, key):
        if key in self.vars:
            return self.vars[key]
        try:
            return self.environment.variables[key]
        except KeyError:
            return super().resolve_or_missing(key)


def _listed(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return list(function(*args, **kwargs))

    return call


@functools.cache
def _environment(role):
    """Jinja as Ansible sets it up, with compiled templates kept."""
    made = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, auto_reload=False, cache_size=-1,
        loader=jinja2.FileSystemLoader(ROOT / "roles" / role / "templates"), extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
    )  # fmt: skip
    made.context_class = _Context
    made.compiled = {}

    def now(utc=False, fmt=""):
        day = datetime.datetime(2026, 11, 29, tzinfo=datetime.timezone.utc)
        return day.strftime(fmt) if fmt else day

    made.globals["now"] = now
    made.filters = {**_FILTERS, **made.filters}
    for name in ("map", "select", "reject", "selectattr", "rejectattr", "unique"):  # Ansible has lists in their place
        made.filters[name] = _listed(made.filters[name])
    made.tests["search"] = lambda value, pattern: re.search(pattern, value) is not None
    made.tests["match"] = lambda value, pattern: re.match(pattern, value) is not None
    return made


class Variables:
    """A role's variables; those that are templates are evaluated when they are asked for, once."""

    def __init__(self, role, inventory, os_family="Debian", internal=None):
        where = ROOT / "roles" / role
        self.raw = {
            **_load(where / "defaults/main.yml"),
            "inventory_hostname": "mail.example.org",
            "ansible_managed": "Ansible managed",
            "ansible_facts": {"os_family": os_family, "all_ipv4_addresses": ["198.51.100.25"], "all_ipv6_addresses": ["2001:db8:100::25"],
                              "distribution_version": "13",
                              "postmaster_mail": {"packages": {}, "accounts": {}, "groups": {}, "enabled_services": [], "hosts": [],
                                                  "memory": 2048, "cores": 2}},
            **inventory,
            **_load(ROOT / "roles/host/vars/main.yml"),  # a dependency of all roles
            **_load(where / "vars/main.yml"),
            **_load(where / f"vars/{os_family}.yml"),
            **(internal or {}),
        }  # fmt: skip
        self.role = role
        self.inventory = inventory
        self.known = {}
        self.environment = _environment(role)
        self.environment.variables = self

    def __getitem__(self, name):
        if name not in self.known and name == "__mail_models":
            self.known[name] = self._models()
        elif name not in self.known:
            value = self.raw[name]
            # What the user wrote is no template of ours.
            self.known[name] = value if name in self.inventory else self._evaluated(value)
        return self.known[name]

    def _models(self):
        """What inventory_verify returns, as far as the role reads it."""
        given = {name: self[variable] for name, variable in self.raw[f"__{self.role}_inputs"].items()}
        model = packed(checked_model(given))
        shared = {name.removeprefix("mail_"): value for name, value in self.inventory.items() if name.startswith("mail_")}
        off = shared.get("filter") is False
        return {self.role: model, "shared": {"mta": shared.get("mta", "postfix"), "filter": {"enabled": not off}}}

    def _evaluated(self, value):
        if isinstance(value, dict):
            return {self._evaluated(key): self._evaluated(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._evaluated(entry) for entry in value]
        if not isinstance(value, str) or "{{" not in value:
            return value
        whole = re.fullmatch(r"\s*\{\{((?:(?!\}\}|\{\{).)*)\}\}\s*", value, re.DOTALL)
        if whole:
            return self._compiled(whole[1].strip(), lambda text: self.environment.compile_expression(text, undefined_to_none=False))()
        return self._compiled(value, lambda text: self.environment.from_string(text).render)()

    def _compiled(self, text, function):
        if text not in self.environment.compiled:
            self.environment.compiled[text] = function(text)
        self.environment.variables = self
        return self.environment.compiled[text]

    def files(self, *names):
        """Render templates, by their names below templates, without .j2."""
        self.environment.variables = self
        return {name: self.environment.get_template(f"{name}.j2").render() for name in names}


#: Role → its files, for Debian; those of the last two for OpenBSD.
FILES = {
    "postfix": ["etc/postfix/main.cf", "etc/postfix/master.cf"],
    "opensmtpd": ["etc/smtpd.conf"],
    "dovecot": ["etc/dovecot/dovecot.conf", "etc/dovecot/sizes.conf", "etc/dovecot/sieve/junk.sieve"],
    "rspamd": ["etc/rspamd/local.d/options.inc", "etc/rspamd/local.d/settings.conf", "etc/rspamd/local.d/rbl.conf",
        "etc/rspamd/local.d/rbl_group.conf",
               "etc/rspamd/local.d/actions.conf", "etc/rspamd/local.d/dkim_signing.conf"],
    "protection": ["etc/fail2ban/jail.d/postmaster-mail.local"],
    "resolver": ["server/unbound.conf", "client/resolv.conf"],
    "certificate": ["etc/postmaster-mail/certbot-rfc2136.ini", "etc/acme-client.mail.conf"],
    "firewall": ["pf/pf.mail.conf"],
}  # fmt: skip


def rendered(inventory):
    """Return role → file → text."""
    made = {}
    for role, names in FILES.items():
        internal = {"__dovecot_syntax": "2.4"} if role == "dovecot" else {}
        os_family = "OpenBSD" if role in ("firewall", "certificate") else "Debian"
        variables = Variables({"firewall": "protection"}.get(role, role), inventory, os_family, internal)
        made[role] = variables.files(*names)
        if f"__{role}_tables" in variables.raw:
            made[role] |= {f"etc/{path}": text for path, text in variables[f"__{role}_tables"].items()}
    return made
