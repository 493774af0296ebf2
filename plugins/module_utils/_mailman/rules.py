# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mailman without backscatter: settings, their coercions, command addresses and their refusal. Pure functions.

Mailman answers whoever a message claims to be from. What it does so by settings is turned off by a profile; what it does
whatever its settings say, it does at a list's command addresses, such as LIST-join, which have to be refused before it.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._names import address as mail_address

# Every list has these addresses besides its own (Mailman 2.1 has all of them, Mailman 3 all but admin).
SUFFIXES = ("admin", "bounces", "confirm", "join", "leave", "owner", "request", "subscribe", "unsubscribe")
# Those by which a stranger makes Mailman write to somebody else.
COMMANDS = ("join", "leave", "request", "subscribe", "unsubscribe")

REFUSAL = "Commands by mail are not taken here; use the web interface"

# A subscription ban that everybody falls under. It does not keep Mailman from answering at -join and -request.
BAN_ALL = "^.*$"

# Adds to what is there instead of replacing it; in Mailman 3 a resource of its own, in 2.1 an attribute.
BANS = "ban_list"

_QUIET_3: dict[str, Any] = {
    "admin_immed_notify": False,
    "autorespond_owner": "none",
    "autorespond_postings": "none",
    "autorespond_requests": "respond_and_discard",
    "autoresponse_grace_period": "365d",
    "bounce_you_are_disabled_warnings": 0,
    "default_nonmember_action": "hold",
    "dmarc_mitigate_action": "munge_from",
    "max_days_to_hold": 30,
    "respond_to_post_requests": False,
    "send_goodbye_message": False,
    "subscription_policy": "confirm_then_moderate",
    "unsubscription_policy": "confirm",
}
_QUIET_2: dict[str, Any] = {
    "admin_immed_notify": 0,
    "autorespond_admin": 0,
    "autorespond_postings": 0,
    "autorespond_requests": 1,
    "autoresponse_graceperiod": 365,
    "bounce_you_are_disabled_warnings": 0,
    "dmarc_moderation_action": 1,
    "forward_auto_discards": 0,
    "generic_nonmember_action": 1,
    "max_days_to_hold": 30,
    "member_moderation_action": 0,
    "respond_to_post_requests": 0,
    "send_goodbye_msg": 0,
    "subscribe_policy": 3,
    "unsubscribe_policy": 0,
}
_PROFILES: dict[str, dict[int, dict[str, Any]]] = {
    "quiet": {2: _QUIET_2, 3: _QUIET_3},
    "closed": {
        2: {**_QUIET_2, "generic_nonmember_action": 3, BANS: [BAN_ALL]},
        3: {**_QUIET_3, "default_nonmember_action": "discard", BANS: [BAN_ALL]},
    },
    "none": {2: {}, 3: {}},
}
PROFILES = tuple(_PROFILES)


@dataclass(frozen=True)
class MailingList:
    """A list: local part and domain of its posting address, lower case."""

    name: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.name}@{self.domain}"


def profile(name: str, version: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a profile, overridden by single ones. A setting of None leaves that of the profile out; bans add up.

    :param version: 2 or 3; the names and values are those of that Mailman
    :raises MailError: no such profile
    """
    if name not in _PROFILES:
        raise MailError(f"profile {name!r} is unknown; known are: {', '.join(PROFILES)}")
    merged = {**_PROFILES[name][version], **settings}
    if isinstance(settings.get(BANS), list):
        # Those of the profile last: Mailman 3 would take none after a ban for all.
        merged[BANS] = [*settings[BANS], *_PROFILES[name][version].get(BANS, [])]
    return {key: value for key, value in sorted(merged.items()) if value is not None}


# ---- coercion and differences

_TRUE, _FALSE = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_DURATION = re.compile(r"^(?:\d+(?:\.\d+)?[wdhms])+\Z", re.ASCII)
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def _boolean(name: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise MailError(f"settings {name} {shown(value)} must be true or false")
    return word in _TRUE


def _whole(name: str, value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    if not isinstance(value, str) or not re.fullmatch("-?[0-9]{1,18}", value):
        raise MailError(f"settings {name} {shown(value)} must be a whole number")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, type(None))) or (isinstance(value, str) and not re.fullmatch(r"-?([0-9]+(\.[0-9]+)?|inf|nan)", value)):
        raise MailError(f"settings {name} {shown(value)} must be a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise MailError(f"settings {name} {shown(value)} must be a number that a computer can count to") from exc
    if not math.isfinite(number):
        raise MailError(f"settings {name} {shown(value)} must be a number that a computer can count to")
    return number


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(entry, str) for entry in value):
        raise MailError(f"settings {name} {shown(value)} must be a list of strings")
    return list(value)


def seconds(value: str) -> float | None:
    """Length of an interval as Mailman 3 writes it (``7d``, ``1d12h``) in seconds; None if it is no interval."""
    if not _DURATION.match(value):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([wdhms])", value, re.ASCII))


def coerce3(name: str, value: Any, current: Any) -> Any:
    """A setting in the type that Mailman 3's REST API gives for it; an interval that is the same length stays as it is.

    :raises MailError: a value that is not of that type
    """
    if isinstance(current, bool):
        return _boolean(name, value)
    if isinstance(current, int):
        return _whole(name, value)
    if isinstance(current, float):
        return _number(name, value)
    if isinstance(current, list):
        return _strings(name, value)
    if isinstance(value, (list, dict)):
        raise MailError(f"settings {name} {shown(value)} must be one value, not a {type(value).__name__}")
    text = str(value)
    if isinstance(current, str) and seconds(current) is not None and seconds(text) == seconds(current):
        return current
    return text


_SWITCH = {"no": 0, "yes": 1}
_POST_ACTION = {"accept": 0, "hold": 1, "reject": 2, "discard": 3}
_AUTORESPOND = {"none": 0, "no": 0, "respond_and_discard": 1, "respond_and_continue": 2}
# Options of Mailman 2.1 with numbered choices; the words are Mailman 3's where it has them (facts: Gui/*.py of 2.1.26).
_CHOICES_2: dict[str, dict[str, int]] = {
    "admin_immed_notify": _SWITCH,
    "admin_notify_mchanges": _SWITCH,
    "advertised": _SWITCH,
    "autorespond_admin": _SWITCH,
    "autorespond_postings": _SWITCH,
    "autorespond_requests": _AUTORESPOND,
    "bounce_notify_owner_on_bounce_increment": _SWITCH,
    "bounce_notify_owner_on_disable": _SWITCH,
    "bounce_notify_owner_on_removal": _SWITCH,
    "bounce_processing": _SWITCH,
    "bounce_unrecognized_goes_to_list_owner": _SWITCH,
    "default_member_moderation": _SWITCH,
    "dmarc_moderation_action": {"no_mitigation": 0, "accept": 0, "munge_from": 1, "wrap_message": 2, "reject": 3, "discard": 4},
    "forward_auto_discards": _SWITCH,
    "from_is_list": {"no": 0, "munge_from": 1, "wrap_message": 2},
    "generic_nonmember_action": _POST_ACTION,
    "member_moderation_action": {"hold": 0, "reject": 1, "discard": 2},
    "require_explicit_destination": _SWITCH,
    "respond_to_post_requests": _SWITCH,
    "send_goodbye_msg": _SWITCH,
    "send_reminders": _SWITCH,
    "send_welcome_msg": _SWITCH,
    "subscribe_policy": {"open": 0, "confirm": 1, "moderate": 2, "confirm_then_moderate": 3},
    "unsubscribe_policy": _SWITCH,
}
# Numbers: a negative one would be dropped by Mailman without a word.
_NUMBERS_2 = (
    "autoresponse_graceperiod", "bounce_info_stale_after", "bounce_score_threshold", "bounce_you_are_disabled_warnings",
    "bounce_you_are_disabled_warnings_interval", "max_days_to_hold", "max_message_size", "max_num_recipients",
)  # fmt: skip
# Lists of addresses, which Mailman takes without a look if they come as lists; the second kind allows patterns.
_ADDRESSES_2 = {"owner": False, "moderator": False, BANS: True, "accept_these_nonmembers": True, "hold_these_nonmembers": True,
                "reject_these_nonmembers": True, "discard_these_nonmembers": True}  # fmt: skip


def coerce2(name: str, value: Any, current: Any) -> Any:
    """A setting in the type that Mailman 2.1 keeps: its config_list checks less than its web interface, and says so late.

    :raises MailError: a value that 2.1 does not have, or would drop or misread
    """
    if name in _CHOICES_2:
        words = _CHOICES_2[name]
        word = str(value).strip().lower()
        if words is _SWITCH:
            return int(_boolean(name, value))
        if word in words:
            return words[word]
        if word in map(str, words.values()):
            return int(word)
        legal = ", ".join(f"{number} ({key})" for key, number in words.items())
        raise MailError(f"settings {name} {shown(value)} is no choice of Mailman 2.1; it knows {legal}")
    if name in _NUMBERS_2 or (isinstance(current, (int, float)) and not isinstance(current, bool)):
        number = _number(name, value)
        if number < 0:
            raise MailError(f"settings {name} {shown(value)} is negative: Mailman 2.1 would keep the old value and say nothing")
        return int(number) if number == int(number) else number
    if isinstance(current, bool):
        return int(_boolean(name, value))
    if isinstance(current, list):
        entries = _strings(name, value)
        for entry in entries if name in _ADDRESSES_2 else ():
            if _ADDRESSES_2[name] and entry.startswith(("^", "@")):
                _pattern(name, entry)
            else:
                mail_address(entry, f"settings {name}")
        return entries
    if isinstance(value, (list, dict)):
        raise MailError(f"settings {name} {shown(value)} must be one value, not a {type(value).__name__}")
    return str(value)


def _pattern(name: str, entry: str) -> None:
    try:
        re.compile(entry)
    except re.error as exc:
        raise MailError(f"settings {name} {shown(entry)} is not a regular expression: {exc}") from exc


def banned(entry: str, bans: Iterable[str]) -> bool:
    """Whether Mailman 3 holds an address or a pattern for banned, and takes no ban for it therefore (its mailman.model.bans).

    :param bans: those of the list and those of the site
    """

    def matches(pattern: str) -> bool:
        try:
            return bool(re.match(pattern, entry, re.IGNORECASE))
        except re.error:
            return False

    return any(ban == entry or (ban.startswith("^") and matches(ban)) for ban in bans)


def changes(
    wanted: Mapping[str, Any],
    current: Mapping[str, Any],
    coerce: Callable[[str, Any, Any], Any],
    required: Iterable[str] = (),
    covered: Callable[[str, Sequence[str]], bool] = lambda entry, bans: entry in bans,
) -> dict[str, tuple[Any, Any]]:
    """What differs: setting -> (before, after). Bans are added to those there are.

    :param required: settings that must exist, those that a user named; others that this release lacks are left out
    :param covered: whether an entry need not be added to the bans of a list
    :raises MailError: a required setting that the list does not have, or a bad value
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name, value in wanted.items():
        if name not in current:
            if name in required:
                raise MailError(f"settings {name!r} is not a setting of this Mailman's lists")
            continue
        before = current[name]
        if name == BANS:
            entries = _strings(name, value)
            for entry in entries:
                if entry.startswith("^"):
                    _pattern(name, entry)
                else:
                    mail_address(entry, f"settings {name}")
            after: Any = list(before)
            for entry in entries:
                if not covered(entry, after):
                    after.append(entry)
        else:
            after = coerce(name, value, before)
        if after != before:
            found[name] = (before, after)
    return found


# ---- what config_list prints and reads

_ASSIGNMENT = re.compile(r"^([A-Za-z][A-Za-z0-9_]*) = ?(.*)\Z")
_CODING = re.compile(rb"^#.*?coding[:=]\s*([-\w.]+)", re.M)
_LONG = re.compile(r"^(-?\d+)[lL]\Z")


def parse_config(data: bytes) -> dict[str, Any]:
    """Read the output of ``config_list -o -`` without executing it: assignments of literals to names, nothing else.

    :raises MailError: something else than comments, empty lines and such assignments
    """
    match = _CODING.search(data[:200])
    charset = match.group(1).decode("ascii") if match else "us-ascii"
    # One character per octet, as Python 2 read it; strings are decoded one by one.
    lines = data.decode("latin-1").replace("\r\n", "\n").split("\n")
    found: dict[str, Any] = {}
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if not line.strip() or line.startswith("#"):
            continue
        start = _ASSIGNMENT.match(line)
        if not start:
            raise MailError(f"config_list printed a line that is neither a comment nor an assignment: {line!r}")
        name, text = start.groups()
        while True:
            try:
                value = _literal(text)
                break
            except (SyntaxError, ValueError, MemoryError, RecursionError) as exc:
                if position == len(lines):
                    raise MailError(f"config_list printed no literal for {name}: {start.group(2)[:80]!r}") from exc
                text += "\n" + lines[position]
                position += 1
        found[name] = _decoded(value, charset)
    return found


def _literal(text: str) -> Any:
    text = text.strip()
    long = _LONG.match(text)
    if long:
        return int(long.group(1))
    with warnings.catch_warnings():
        # Mailman does not escape backslashes in the texts that it prints in triple quotes.
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _decoded(value: Any, charset: str) -> Any:
    if isinstance(value, str):
        try:
            return value.encode("latin-1").decode("utf-8" if charset == "us-ascii" else charset)
        except (UnicodeError, LookupError):
            return value
    if isinstance(value, (list, tuple)):
        return type(value)(_decoded(entry, charset) for entry in value)
    return value


def format_config(values: Mapping[str, Any], charset: str = "utf-8") -> str:
    """Assignments for ``config_list -i``, which executes them: so nothing but names and literals, in ASCII.

    :raises MailError: a name that is none, or a value that is no number, string or list of strings
    """
    lines = []
    for name, value in sorted(values.items()):
        if not re.match(r"^[a-z][a-z0-9_]*\Z", name) or name == "mlist":
            raise MailError(f"settings {name!r} is not the name of a setting")
        lines.append(f"{name} = {_emitted(name, value, charset)}\n")
    return "".join(lines)


def _emitted(name: str, value: Any, charset: str) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, float)) and math.isfinite(value):  # nan and inf are names, not literals
        return repr(value)
    if isinstance(value, str):
        try:
            return repr(value.encode(charset))[1:]  # the literal of a Python 2 string
        except (UnicodeError, LookupError) as exc:
            raise MailError(f"settings {name} {shown(value)} cannot be written in the character set {charset} of the list") from exc
    if isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value):
        return "[" + ", ".join(_emitted(name, entry, charset) for entry in value) + "]"
    raise MailError(f"settings {name} {shown(value)} must be a number, a string or a list of strings")


def charset_of(data: bytes) -> str:
    """Character set of a list, from the output of ``config_list -o -``."""
    match = _CODING.search(data[:200])
    found = match.group(1).decode("ascii") if match else "us-ascii"
    return "utf-8" if found == "us-ascii" else found


# ---- command addresses

@dataclass(frozen=True)
class Commands:
    """Which addresses of lists are to go: suffixes, and whole addresses that stay all the same."""

    suffixes: tuple[str, ...]
    kept: frozenset[str]


def commands(remove: Sequence[str], keep: Sequence[str]) -> Commands:
    """Check both options; ``keep`` may name suffixes and whole addresses.

    :raises MailError: neither a suffix that lists have nor an address
    """
    for option, values in (("remove_addresses", remove), ("keep_addresses", keep)):
        for value in values:
            if value not in SUFFIXES and not (option == "keep_addresses" and "@" in value):
                raise MailError(f"{option} {shown(value)} is no address of a list; lists have: {', '.join(SUFFIXES)}")
    kept = frozenset(mail_address(value, "keep_addresses") for value in keep if "@" in value)
    return Commands(tuple(suffix for suffix in SUFFIXES if suffix in remove and suffix not in keep), kept)


def refused(lists: Sequence[MailingList], every: Iterable[MailingList], wanted: Commands) -> list[tuple[MailingList, tuple[str, ...]]]:
    """The suffixes to refuse at each list: not those that make another list's own address.

    :param lists: the lists concerned
    :param every: all lists of the host
    """
    safe = wanted.kept | {entry.address for entry in every}
    return [
        (entry, suffixes)
        for entry in sorted(lists, key=lambda entry: (entry.domain, entry.name))
        for suffixes in [tuple(suffix for suffix in wanted.suffixes if f"{entry.name}-{suffix}@{entry.domain}" not in safe)]
        if suffixes
    ]


def refused_addresses(refusals: Sequence[tuple[MailingList, Sequence[str]]]) -> list[str]:
    """The refused addresses, one by one."""
    return [f"{entry.name}-{suffix}@{entry.domain}" for entry, suffixes in refusals for suffix in suffixes]


def _pattern_of(entry: MailingList, suffixes: Sequence[str]) -> str:
    """An extended regular expression for these addresses, also with an extension as in LIST-confirm+TOKEN."""
    # Only what is special: a backslash makes anchors of ' ` < and > (regex(7), GNU's extensions).
    name, domain = (re.sub(r"([][.\\^$*+?(){}|/])", r"\\\1", part) for part in (entry.name, entry.domain))
    return rf"^{name}-({'|'.join(suffixes)})(\+[^@]*)?@{domain}$"


def postfix_table(refusals: Sequence[tuple[MailingList, Sequence[str]]], text: str = REFUSAL) -> str:
    """A regexp_table(5) for check_recipient_access; Postfix compares without regard to case.

    :raises MailError: a text that does not fit into one line of a reply
    """
    _reply_text(text)
    return "".join(f"/{_pattern_of(entry, suffixes)}/ 550 5.7.1 {text}\n" for entry, suffixes in refusals)


def opensmtpd_table(refusals: Sequence[tuple[MailingList, Sequence[str]]]) -> str:
    """A table(5) for ``match from any for rcpt-to regex <table> reject``; OpenSMTPD compares in lower case.

    smtpd takes no empty table here, so one that refuses nobody has a pattern that no address matches.
    """
    return "".join(f"{_pattern_of(entry, suffixes)}\n" for entry, suffixes in refusals) or "^$\n"


def _reply_text(text: str) -> None:
    if not text or not text.isascii() or not text.isprintable() or len(text) > 400:
        raise MailError(f"refusal_text {text!r} must be one line of 1 to 400 printable ASCII characters (RFC 5321 section 4.2)")
    if "$" in text:
        raise MailError(f"refusal_text {text!r} must not contain '$', which Postfix would replace (regexp_table(5))")


def virtual_without(text: str, lists: Sequence[str], every: Iterable[str], wanted: Commands) -> tuple[str, list[str]]:
    """A virtual(5) file without the command addresses of some lists; everything else stays as it is.

    Only what Mailman itself would write goes: an address LIST-SUFFIX@domain that leads to LIST-SUFFIX. An address that is
    a list's own, or that somebody has led elsewhere, stays.

    :param lists: names of the lists concerned
    :param every: names of all lists of the host
    :returns: the new text, and the addresses that are gone
    """
    own = {name.lower() for name in every}
    doomed = {f"{name.lower()}-{suffix}" for name in lists for suffix in wanted.suffixes} - own
    # A line that starts with a blank continues the one before it (postmap(1)).
    entries: list[str] = []
    for line in text.splitlines(keepends=True):
        if entries and line[:1] in (" ", "\t") and line.strip() and not entries[-1].startswith("#"):
            entries[-1] += line
        else:
            entries.append(line)
    kept: list[str] = []
    gone: list[str] = []
    for entry in entries:
        fields = entry.split()
        if len(fields) == 2 and not entry.startswith("#"):
            address, target = fields[0].lower(), fields[1].lower()
            local = address.partition("@")[0]
            if local in doomed and target.partition("@")[0] == local and address not in wanted.kept:
                gone.append(fields[0])
                continue
        kept.append(entry)
    return "".join(kept), gone
