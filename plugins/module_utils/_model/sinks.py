# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where values end up: every file syntax that a value of the user's reaches, and what it would take for something else.

An inventory means the same on every system and with every MTA, so a value must be one that all of its sinks carry, whichever of them
this host has. What a sink can carry when it is escaped is escaped where it is written, and is not in these tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown


class Sink(NamedTuple):
    """One syntax."""

    name: str
    #: What it cannot carry, at any place where it is found.
    cannot: re.Pattern[str]
    #: What it takes that for, with the source.
    why: str


#: No line of a file and no argument of a program carries these; a break would begin another line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")

_SINKS = {
    "postfix_table": Sink("Postfix's tables", re.compile(r"\A#|\s"), "a line that begins with '#' is a comment, and white space ends a "
                                                                     "key (postmap(1))"),
    "postfix_address": Sink("Postfix", re.compile(r"\A-"), "it refuses addresses that begin with '-', which a program could take for an "
                                                           "option (postconf(5), allow_min_user)"),
    "postfix_recipient": Sink("Postfix", re.compile(r"[!%]"), "it refuses strangers' mail to a name with '!' or '%', a route to another "
                                                              "host (postconf(5), allow_untrusted_routing)"),
    "local_aliases": Sink("Postfix's local delivery", re.compile(r"\A[|/]"), "what begins with '|' is a program and with '/' a file "
                                                                             "(aliases(5))"),
    "main_cf": Sink("Postfix's main.cf", re.compile(r"\$"), "'$' begins the name of a parameter (postconf(5))"),
    "main_cf_word": Sink("Postfix's main.cf", re.compile(r"[\s,{}$]"), "white space and commas separate words there, '$' begins the "
                                                                       "name of a parameter, and braces group (postconf(5))"),
    "smtpd_key": Sink("OpenSMTPD's tables", re.compile(r"\A[#\[]|[\s:]"), "'#' begins a comment, and white space or ':' ends a key "
                                                                          "(table(5))"),
    "smtpd_target": Sink("OpenSMTPD's aliases", re.compile(r"\A[|/]"), "what begins with '|' is a program and with '/' a file "
                                                                       "(aliases(5))"),
    "smtpd_conf": Sink("OpenSMTPD's smtpd.conf", re.compile(r"[\"\s]|\\\Z"), "a quotation mark ends a string, and white space an "
                                                                             "argument of a program (smtpd.conf(5))"),
    "passwd_file": Sink("Dovecot's passwd-files", re.compile(r"\A#|[:\s]"), "a line that begins with '#' is a comment, and ':' ends a "
                                                                            "field"),
    "dovecot_conf": Sink("Dovecot's settings", re.compile(r"[#%$\"'\\{}\s]"), "'#' begins a comment, '$' and '%' a variable, and "
                                                                              "quotation marks a string"),
    "dovecot_variable": Sink("Dovecot's settings", re.compile(r"%"), "'%' begins a variable"),
    "rspamd_map": Sink("Rspamd's maps", re.compile(r"\A/|[#\s]"), "'/' begins a regular expression, '#' a comment wherever it stands, and "
                                                                 "white space separates"),
    "ucl": Sink("Rspamd's configuration", re.compile(r"[$\s]"), "'$' begins a variable in a path"),
    "systemd": Sink("units of systemd", re.compile(r"[%\s\"'\\$;]"), "'%' begins a specifier, '$' a variable, and quotation marks an "
                                                                     "argument (systemd.unit(5), systemd.service(5))"),
    "acme_conf": Sink("acme-client's configuration", re.compile(r"[\"\s]|\\\Z"), "a quotation mark ends a string (acme-client.conf(5))"),
    "httpd_conf": Sink("httpd's configuration", re.compile(r"[\"\s]|\\\Z"), "a quotation mark ends a string (httpd.conf(5))"),
    "mailto": Sink("an account of ACME", re.compile(r"[?#%]"), "its contact is a mailto URI, in which '?', '#' and '%' mean something "
                                                               "else (RFC 8555 section 7.3, RFC 6068 section 2)"),
    "store_conf": Sink("the store's configuration", re.compile(r"[\"'\\\s#]"), "white space and quotation marks separate words"),
    "shell": Sink(
        "the shell that smtpd starts", re.compile(r"[;&|<>()`'\"*?#\\$\s]"), "it takes quotation marks and such signs for its own (sh(1))"
    ),
    "argument": Sink("a program's arguments", re.compile(r"\A-"), "what begins with '-' is an option"),
    "srs": Sink("the rewriting of senders", re.compile(r"\A[Ss][Rr][Ss][01][=+-]"), "mail to such a name is taken for a bounce to a "
                                                                                   "rewritten sender (SRS)"),
}

#: Kind of value → where values of that kind are written.
_REACHES: dict[str, tuple[str, ...]] = {
    # What mail is taken for or sent as: aliases and further senders.
    "name": ("postfix_table", "postfix_address", "postfix_recipient", "smtpd_key", "passwd_file", "rspamd_map", "srs"),
    # What else a user's name cannot have, no directory can have either.
    "mailbox": ("srs",),
    # Whose mail is allowed or blocked: addresses of others.
    "sender": ("rspamd_map",),
    # Where mail goes: the right sides of aliases, and catch-alls.
    "target": ("postfix_address", "local_aliases", "smtpd_target"),
    "postmaster": ("postfix_address", "local_aliases", "smtpd_target", "dovecot_variable"),
    "contact": ("mailto", "acme_conf", "argument"),
    # Paths are in the configuration of each daemon, some as a word among others.
    "path": ("main_cf_word", "smtpd_conf", "dovecot_conf", "ucl", "systemd", "acme_conf", "httpd_conf", "store_conf"),
    "key": ("ucl",),
    "url": ("acme_conf", "argument"),
    # A socket, a host with its port, a transport with its next hop.
    "endpoint": ("main_cf_word", "smtpd_conf", "shell"),
    "milter": ("main_cf",),
}

#: The part of an endpoint or path that a role replaces with a directory of the system's.
_PLACEHOLDER = re.compile(r"\{(?:dovecot|rspamd)\}")


def one_line(value: Any, option: str) -> str:
    """Return a text without control characters, which no sink carries.

    :raises MailError: not a string, or a character that would end the line
    """
    if not isinstance(value, str):
        raise MailError(f"{option} {shown(value)} must be a string, not {type(value).__name__}")
    control = _CONTROL.search(value)
    if control:
        raise MailError(f"{option} {shown(value)} has the control character {control[0]!r}, which no file that it is written to could "
                        f"carry")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MailError(f"{option} {shown(value)} has half of a surrogate pair, which no UTF-8 holds (RFC 3629 section 3)") from None
    return str(value)


def carried(kind: str, value: Any, option: str) -> str:
    """Return a value that every sink of its kind carries as it is.

    :raises MailError: one of them would take it, or a part of it, for something else
    """
    text = one_line(value, option)
    for name in _REACHES[kind]:
        sink = _SINKS[name]
        found = sink.cannot.search(_PLACEHOLDER.sub("", text))
        if found:
            raise MailError(f"{option} {shown(text)} cannot have {found[0]!r} {_where(found)}: {sink.name} could not carry it, since "
                            f"{sink.why}")
    return text


def _where(found: re.Match[str]) -> str:
    return "at its beginning" if found.re.pattern.startswith(r"\A") and found.start() == 0 else "in it"


def _address_for(kind: str) -> Callable[[str, str], str]:
    """Return a function that returns an address in canonical form, one that all sinks of its kind carry.

    :param kind: ``name``, ``target``, ``postmaster``, ``contact`` or ``sender``, see :data:`_REACHES`
    """

    def checked(value: str, option: str) -> str:
        address = _names.address(value, option)
        local, _at, domain = address.partition("@")
        if local == "*":
            raise MailError(
                f"{option} {shown(value)} is an address like any other, since '*' stands for nothing else there: "
                f"mail to all names of a domain is mail_domains[{domain!r}].catch_all"
            )
        return carried(kind, address, option)

    return checked


name_address, target_address, postmaster_address, contact_address, sender_address = (
    _address_for(kind) for kind in ("name", "target", "postmaster", "contact", "sender")
)


def path(value: Any, option: str, kind: str = "path") -> str:
    """Return an absolute path. A part that is ``..`` is left to the system.

    :param kind: ``path``, or ``key`` for one that only Rspamd reads
    :raises MailError: another text, or one that a file could not carry
    """
    text = one_line(value, option)
    if not text.startswith("/") and not _PLACEHOLDER.match(text):
        raise MailError(f"{option} {shown(text)} must be an absolute path")
    _path_length(text, option)
    return carried(kind, text, option)


def file_name(value: Any, option: str) -> str:
    """Return an absolute path that is only given to a program, never written into a file.

    :raises MailError: another text
    """
    text = one_line(value, option)
    if not text.startswith("/"):
        raise MailError(f"{option} {shown(text)} must be an absolute path")
    _path_length(text, option)
    return text


def _path_length(text: str, option: str) -> None:
    """Refuse a path that OpenBSD, which has the shortest ones, could not open.

    :raises MailError: more octets than PATH_MAX and NAME_MAX are (pathconf(2))
    """
    if len(text.encode()) > 1023 or max(len(part.encode()) for part in text.split("/")) > 255:
        raise MailError(f"{option} {shown(text)} is longer than a path can be: 1023 octets, and 255 between two slashes (pathconf(2))")


def url(value: Any, option: str) -> str:
    """Return the URL of an ACME directory.

    :raises MailError: not https with a host (RFC 8555 section 6.1, RFC 3986)
    """
    text = carried("url", value, option)
    if not re.fullmatch(r"https://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?", text):
        raise MailError(f"{option} {shown(text)} is not a URL of the form https://HOST[:PORT]/PATH (RFC 8555 section 6.1, RFC 3986)")
    return text


def pem(value: Any, option: str) -> str:
    """Return PEM text, in which line breaks are lawful.

    :raises MailError: not text that begins and ends as PEM does (RFC 7468 section 2)
    """
    text = value.strip(" \t\r\n") if isinstance(value, str) else ""
    if not re.fullmatch(r"[\t\r\n -~]*-----BEGIN [A-Z0-9 ]+-----[\t\r\n -~]*-----END [A-Z0-9 ]+-----", text):
        raise MailError(f"{option} must be PEM text, which has -----BEGIN and -----END lines (RFC 7468 section 2)")
    return str(value)


def pem_or_path(value: Any, option: str) -> str:
    """Return PEM text or an absolute path; a value that is neither may hold a key and is not in the error.

    :raises MailError: neither
    """
    if isinstance(value, str) and "-----BEGIN " in value:
        return pem(value, option)
    try:
        return file_name(value, option)
    except MailError:
        raise MailError(f"{option} must be PEM text (RFC 7468 section 2) or the absolute path of a file on the host") from None


def account(value: Any, option: str) -> str:
    """Return the name of a user or group.

    :raises MailError: one that useradd of Debian or OpenBSD would refuse
    """
    if not isinstance(value, str) or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", value):
        raise MailError(f"{option} {shown(value)} is not the name of an account: a-z, 0-9, '_' and '-', at most 31 of them, and first a "
                        f"letter or '_'")
    return str(value)


def service(value: Any, option: str) -> str:
    """Return the name of a service.

    :raises MailError: one that neither systemd nor rc knows
    """
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,200}", value):
        raise MailError(f"{option} {shown(value)} is not the name of a service (systemd.unit(5), rc.d(8))")
    return str(value)


def host_name(value: Any, option: str) -> str:
    """Return the inventory name of a host.

    :raises MailError: a text that no inventory can have as a host
    """
    text = one_line(value, option)
    if not re.fullmatch(r"[^\s/\\'\"{}]+", text) or text.startswith("-"):
        raise MailError(f"{option} {shown(text)} is not the name of a host of the inventory")
    return text


def _endpoint(value: Any, option: str) -> str:
    return carried("endpoint", value, option)


def _milter(value: Any, option: str) -> str:
    return carried("milter", value, option)


def _network(value: Any, option: str) -> str:
    return str(_names.ip_network(value, option))


def _nameserver(value: Any, option: str) -> str:
    """Return ADDRESS, or ADDRESS:PORT with an IPv6 address in brackets."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", value) if isinstance(value, str) else None
    if match and 0 < int(match[3]) < 65536:
        _names.ip_address(match[1] or match[2], option)
        return str(value)
    return str(_names.ip_address(value, option))


def _host_port(value: Any, option: str) -> str:
    """Return HOST:PORT."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value) if isinstance(value, str) else None
    if not match or not 0 < int(match[2]) < 65536:
        raise MailError(f"{option} {shown(value)} is not of the form HOST:PORT")
    return str(value)


def _mirror(value: Any, option: str) -> str:
    text = one_line(value, option)
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/+-]*)?", text):
        raise MailError(f"{option} {shown(text)} is not the URL of a mirror (sources.list(5))")
    return text


def _pattern(form: str, words: str) -> Callable[[Any, str], str]:
    def check(value: Any, option: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise MailError(f"{option} {shown(value)} is not {words}")
        return str(value)

    return check


def _whole(low: int, high: int) -> Callable[[Any, str], int]:
    return lambda value, option: _names.whole_number(value, option, low, high)


def _optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, option: value if isinstance(value, str) and not value else check(value, option)


def _each(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, option: [check(item, option) for item in value]


def _placeholders(value: Any, option: str) -> str:
    return file_name(value, option)


def _contact(value: Any, option: str) -> str:
    return carried("contact", _names.address(value, option), option)


def _headers(value: Any, option: str) -> Any:
    for name, text in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[!-9;-~]+", name):
            raise MailError(f"{option} {shown(name)} is not the name of a header field (RFC 5322 section 2.2)")
        one_line(text, f"{option}[{shown(name)}]")
    return value


def _ports(value: Any, option: str) -> Any:
    for port, purpose in value.items():
        _names.whole_number(port, option, 1, 65535)
        one_line(purpose, f"{option}[{shown(port)}]")
    return value


def _parameters(value: Any, option: str) -> Any:
    """Check parameters of main.cf(5). Their values may span lines, each of which but the first begins with white space."""
    for name, text in value.items():
        where = f"{option}[{shown(name)}]"
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise MailError(f"{option} {shown(name)} is not the name of a parameter (postconf(5))")
        if isinstance(text, bool) or not isinstance(text, (str, int, float)):
            raise MailError(f"{where} {shown(text)} must be a string or a number, such as 'yes' in quotation marks (postconf(5))")
        for line in re.split(r"\n(?=[ \t]+[^ \t\n#])", str(text).rstrip("\n")):
            one_line(line.replace("\t", " "), where)
    return value


_YEAR = 366 * 86400

#: What the roles' own variables may be, beyond their types, where they are written into a file or given to a program. Those that stand
#: for a variable that all roles share, and those that a plan is made of, are checked with the model and the plan.
VARIABLES: Mapping[str, Callable[[Any, str], Any]] = {
    "certificate_email": _optional(_contact),
    "certificate_key_path": path,
    "certificate_chain_path": path,
    "certificate_services": _each(service),
    "certificate_webroot": _optional(path),
    "certificate_dns_wait": _whole(0, 3600),
    "dkim_directory": _optional(path),
    "dkim_group": _optional(account),
    "dkim_default_selector": _names.selector,
    "dkim_adopt": _each(_placeholders),
    "dns_report_file": _optional(one_line),
    "dovecot_tls_key": path,
    "dovecot_tls_chain": path,
    "dovecot_mail_user": account,
    "dovecot_mail_uid": _whole(1, 2**31 - 1),
    "dovecot_mail_home": path,
    "dovecot_mta_user": _optional(account),
    "dovecot_quota_grace": _pattern(r"[0-9]{1,15}[BKMGTbkmgt]?", "a size such as 50M"),
    "dovecot_junk_headers": _headers,
    "dovecot_learn_socket": path,
    "dovecot_submission": _host_port,
    "identity_nameservers": _each(lambda value, option: str(_names.ip_address(value, option))),
    "operations_filter_socket": _optional(path),
    "operations_log_days": _whole(0, 36500),
    "mailman_tls_key": path,
    "mailman_tls_chain": path,
    "opensmtpd_tls_key": path,
    "opensmtpd_tls_chain": path,
    "opensmtpd_rspamd": _optional(_endpoint),
    "opensmtpd_mirror": _optional(_mirror),
    "opensmtpd_delivery": _endpoint,
    "opensmtpd_mail_user": account,
    "opensmtpd_quota_service": _optional(_endpoint),
    "opensmtpd_message_size_limit": _whole(1, 2**63 - 1),
    "opensmtpd_senderscore": _whole(0, 100),
    "postfix_tls_key": path,
    "postfix_tls_chain": path,
    "postfix_milter": _optional(_milter),
    "postfix_delivery": _endpoint,
    "postfix_sasl_socket": path,
    "postfix_quota_service": _optional(_endpoint),
    "postfix_message_size_limit": _whole(0, 2**63 - 1),
    "postfix_settings": _parameters,
    "protection_max_failures": _whole(1, 1000000),
    "protection_window": _whole(1, _YEAR),
    "protection_ban_seconds": _whole(1, _YEAR),
    "protection_trusted": _each(_network),
    "protection_ports": _ports,
    "resolver_search": _each(_names.owner_name),
    "rspamd_nameservers": _each(_nameserver),
    "rspamd_controller_password_hash": _optional(_pattern(r"\$[0-9]\$[a-z0-9]{1,64}\$[a-z0-9]{1,256}",
        "a hash as `rspamadm pw` prints it")),
    "rspamd_learn_group": account,
    "rspamd_mta_group": _optional(account),
    "rspamd_learn_gid": _whole(1, 2**31 - 1),
    "rspamd_bayes_min_learns": _whole(0, 1000000),
    "rspamd_bayes_expire_days": _whole(1, 36500),
}

#: Written as they are, by intent.
FREE = ("opensmtpd_settings",)


def variable_errors(options: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], bad: Iterable[str] = ()) -> list[str]:
    """Return one line for every variable of a role that one of its files could not carry.

    :param options: the role's options, by name, as in ``meta/argument_specs.yml``
    :param given: values by variable
    :param bad: variables of a wrong type, which are not looked at
    """
    found = []
    for name, value in given.items():
        if name in bad or name not in options:
            continue
        if value is None and (name in VARIABLES or options[name].get("type") == "bool"):
            found.append(f"{name} is null, which would be written as the word None: leave it out for its default")
        elif options[name].get("type") == "bool" and not isinstance(value, bool):
            # In a template every text but the empty one is true.
            found.append(f"{name} {shown(value)} must be true or false, without quotation marks; in an INI inventory True or False")
        elif name in VARIABLES:
            try:
                VARIABLES[name](value, name)
            except MailError as exc:
                found += exc.rules
    return found
