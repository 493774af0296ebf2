# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mailman 3 through its REST API (I/O)."""

from __future__ import annotations

import configparser
import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from ansible.module_utils.urls import open_url

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import bounded
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rules import BANS, MailingList, banned, changes, coerce3

API = "3.1"

# Far above all lists and bans of a host.
ANSWER = 1 << 26

# Mailman keeps a hash of it: it could not be compared, and would be shown.
PASSWORD = "moderator_password"


def credentials(path: str) -> dict[str, str]:
    """``url``, ``user`` and ``password`` from the section [webservice] of a mailman.cfg; what it leaves out has Mailman's default.

    :raises MailError: a file that cannot be read, or is no configuration
    """
    parser = configparser.RawConfigParser(strict=False, delimiters=(":", "="), allow_no_value=True, inline_comment_prefixes=None)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except OSError as exc:
        raise MailError(f"config_file {path}: {exc.strerror}; give url, user and password instead") from exc
    except (configparser.Error, UnicodeError) as exc:
        # Not the parser's own words: they repeat the line, which may be the password's.
        raise MailError(f"config_file {path} is not a configuration of Mailman 3 ({type(exc).__name__})") from None
    section = dict(parser["webservice"]) if parser.has_section("webservice") else {}

    def value(key: str, default: str) -> str:
        return (section.get(key) or default).strip()

    host, port = value("hostname", "localhost"), value("port", "8001")
    scheme = "https" if value("use_https", "no").lower() in ("yes", "true", "on", "1") else "http"
    return {
        "url": f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/{API}",
        "user": value("admin_user", "restadmin"),
        "password": value("admin_pass", "restpass"),
    }


class Mailman3:
    """The lists of one Mailman 3.

    :param url: base of the API, with or without its version
    :param timeout: seconds for each request
    :raises MailError: a URL that is none
    """

    version = 3

    def __init__(self, url: str, user: str, password: str, timeout: float = 30.0) -> None:
        if "@" in url:
            raise MailError(f"url of {url.rpartition('@')[2]!r} must name no user; give user and password as options of their own")
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise MailError(f"url {url!r} is not of the form http://host:port/{API}")
        base = url.rstrip("/")
        self._base = base if parts.path.strip("/") else f"{base}/{API}"
        self._user, self._password, self._timeout = user, password, timeout
        self._ids: dict[MailingList, str] = {}
        self._site_bans: list[str] | None = None

    def _ask(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        """The decoded answer; an error of the server is a MailError with its words."""
        try:
            with open_url(
                f"{self._base}/{path}", method=method, data=None if data is None else json.dumps(data),
                # Where a roster is asked for, an empty body would be read as JSON.
                headers={} if data is None else {"Content-Type": "application/json"}, url_username=self._user, url_password=self._password,
                force_basic_auth=True, timeout=self._timeout, use_proxy=False, follow_redirects="none",
            ) as answer:  # fmt: skip
                body = answer.read(ANSWER + 1)
        except HTTPError as exc:
            raise MailError(f"Mailman refused {method} {path}: {_words(exc)}") from None
        except (URLError, OSError) as exc:
            raise MailError(f"Mailman's REST API does not answer at {self._base}: {getattr(exc, 'reason', exc)}") from None
        if len(body) > ANSWER:
            raise MailError(f"Mailman's REST API answered {method} {path} with more than {ANSWER} octets")
        try:
            return json.loads(body) if body else None
        except ValueError:
            raise MailError(f"Mailman's REST API answered {method} {path} with something that is not JSON") from None

    def lists(self) -> list[MailingList]:
        """All lists, in the order of their addresses."""
        self._ids = {
            MailingList(entry["list_name"].lower(), entry["mail_host"].lower()): entry["list_id"]
            for entry in self._ask("GET", "lists").get("entries", [])
        }
        return sorted(self._ids, key=lambda entry: (entry.domain, entry.name))

    def find(self, name: str) -> MailingList | None:
        """The list with this address or list id."""
        name = name.lower()
        return next((entry for entry, list_id in self._ids.items() if name in (entry.address, list_id.lower())), None)

    def _path(self, entry: MailingList, part: str) -> str:
        return f"lists/{quote(self._ids[entry], safe='')}/{part}"

    def read(self, entry: MailingList, with_bans: bool) -> dict[str, Any]:
        """All settings of a list, its own bans among them if asked for."""
        found = self._ask("GET", self._path(entry, "config"))
        if with_bans:
            found[BANS] = self._bans(self._path(entry, "bans"))
            if self._site_bans is None:
                self._site_bans = self._bans("bans")
        return found

    def _bans(self, path: str) -> list[str]:
        return [ban["email"] for ban in self._ask("GET", path).get("entries", [])]

    def differences(self, current: dict[str, Any], wanted: dict[str, Any], required: list[str]) -> dict[str, tuple[Any, Any]]:
        if PASSWORD in wanted:
            raise MailError(f"settings {PASSWORD!r} is a secret, which this module neither compares nor sets")
        return changes(wanted, current, coerce3, required, lambda ban, bans: banned(ban, [*bans, *(self._site_bans or [])]))

    def check(self, entry: MailingList, differences: dict[str, tuple[Any, Any]]) -> None:
        """Nothing can be asked beforehand: the server checks a PATCH as a whole before it applies any of it."""

    def apply(self, entry: MailingList, differences: dict[str, tuple[Any, Any]], made: dict[str, tuple[Any, Any]]) -> None:
        """Make the changes, then read again and compare.

        :param made: filled with what is changed, as far as it comes
        :raises MailError: the server refuses a value, or keeps another
        """
        values = {name: after for name, (_before, after) in differences.items() if name != BANS}
        if values:
            self._ask("PATCH", self._path(entry, "config"), values)
            made.update({name: differences[name] for name in values})
        if BANS in differences:
            before, after = differences[BANS]
            for count in range(len(before), len(after)):
                self._ask("POST", self._path(entry, "bans"), {"email": after[count]})
                made[BANS] = (before, after[: count + 1])
        kept = self.read(entry, BANS in differences)
        for name, (before, after) in differences.items():
            same = set(after) <= set(kept[name]) if name == BANS else coerce3(name, after, kept[name]) == kept[name]
            if not same:
                made[name] = (before, kept[name])
                raise MailError(f"Mailman keeps {name} of {entry.address} at {kept[name]!r} although it accepted {after!r}")

    def create(self, address: str, style: str) -> None:
        """Make a list, and its domain where Mailman does not know that yet.

        :param style: one that Mailman begins lists with, such as ``legacy-default``
        """
        domain = address.rpartition("@")[2]
        known = {entry["mail_host"].lower() for entry in self._ask("GET", "domains").get("entries", [])}
        if domain not in known:
            self._ask("POST", "domains", {"mail_host": domain})
        self._ask("POST", "lists", {"fqdn_listname": address, "style_name": style})
        self.lists()

    def owners(self, entry: MailingList) -> list[str]:
        """The addresses of those who own a list."""
        return [member["email"] for member in self._ask("GET", self._path(entry, "roster/owner")).get("entries", [])]

    def add_owner(self, entry: MailingList, address: str) -> None:
        self._ask("POST", "members", {"list_id": self._ids[entry], "subscriber": address, "role": "owner"})

    def moderated(self, entry: MailingList, address: str) -> str | None:
        """The resource of a member whose posts are moderated as those of any; None for an address that is no such member."""
        try:
            member = self._ask("GET", self._path(entry, f"member/{quote(address, safe='@')}"))
        except MailError as exc:
            if str(exc).endswith("(404)"):
                return None
            raise
        return None if member.get("moderation_action") in ("accept", "defer") else f"members/{member['member_id']}"

    def unmoderate(self, member: str) -> None:
        """:param member: what :meth:`moderated` returns"""
        self._ask("PATCH", member, {"moderation_action": "defer"})

    def header_matches(self, entry: MailingList) -> list[dict[str, Any]]:
        """What becomes of messages with certain headers."""
        found: list[dict[str, Any]] = self._ask("GET", self._path(entry, "header-matches")).get("entries", [])
        return found

    def add_header_match(self, entry: MailingList, match: dict[str, Any]) -> None:
        """:param match: ``header``, ``pattern`` and ``action``"""
        self._ask("POST", self._path(entry, "header-matches"), match)


def _words(exc: HTTPError) -> str:
    """What the server says of an error."""
    if exc.code == 401:
        return "user or password is wrong (401)"
    try:
        body = json.loads(exc.read(ANSWER))
    except (ValueError, OSError):
        body = None
    said = body.get("description") or body.get("title") if isinstance(body, dict) else body
    return f"{bounded.printable(str(said or exc.reason), 500)} ({exc.code})"
