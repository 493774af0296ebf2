# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_dns`` means: how records are published."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

#: Seconds.
TTL = 3600

DNS_BACKENDS = ("report", "rfc2136", "zone_file")
DNS_KEYS = (
    "backend", "server", "port", "key_name", "key_algorithm", "key_secret", "zone_file", "zone_host", "reload", "ttl",
    "nameservers", "wait",
)  # fmt: skip


def read_dns(problems: Problems, given: Any) -> dict[str, Any]:
    options = problems.mapping(given, "mail_dns", DNS_KEYS)
    result = {
        "backend": problems.choice(options.get("backend", "report"), "mail_dns.backend", DNS_BACKENDS),
        "server": problems.text(options.get("server"), "mail_dns.server"),
        "port": problems.integer(options.get("port", 53), "mail_dns.port", 1, 65535),
        "key_name": problems.text(options.get("key_name"), "mail_dns.key_name"),
        "key_algorithm": problems.choice(
            options.get("key_algorithm", "hmac-sha256"),
            "mail_dns.key_algorithm",
            ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"),
        ),
        "key_secret": problems.text(options.get("key_secret"), "mail_dns.key_secret"),
        "zone_file": problems.text(options.get("zone_file"), "mail_dns.zone_file"),
        "zone_host": problems.text(options.get("zone_host"), "mail_dns.zone_host"),
        "reload": problems.strings(options.get("reload"), "mail_dns.reload"),
        "ttl": _ttl(problems, options.get("ttl", TTL)),
        "nameservers": [
            str(address)
            for text in problems.strings(options.get("nameservers"), "mail_dns.nameservers")
            if (address := problems.attempt(_names.ip_address, text, "mail_dns.nameservers"))
        ],
        "wait": problems.integer(options.get("wait", 120), "mail_dns.wait", 0, 3600),
    }
    needed = {"rfc2136": ("server", "key_name", "key_secret"), "zone_file": ("zone_file",)}.get(result["backend"], ())
    for key in needed:
        if not options.get(key):
            problems.add(f"mail_dns.{key} is needed by mail_dns.backend {shown(result['backend'])}")
    if result["server"]:
        result["server"] = problems.attempt(_host, result["server"], "mail_dns.server")
    if result["key_name"]:
        result["key_name"] = problems.attempt(_names.owner_name, result["key_name"], "mail_dns.key_name")
    if result["key_secret"]:
        # Written into a file, where white space within it would be the end of the line.
        octets = problems.attempt(dns_plan.tsig_secret, result["key_secret"], "mail_dns.key_secret", default=b"")
        result["key_secret"] = base64.b64encode(octets).decode("ascii")
    if result["zone_file"]:
        problems.attempt(sinks.file_name, result["zone_file"], "mail_dns.zone_file")
    if result["zone_host"]:
        problems.attempt(sinks.host_name, result["zone_host"], "mail_dns.zone_host")
    for word in result["reload"]:
        problems.attempt(sinks.one_line, word, "mail_dns.reload")
    if result["reload"] and not result["reload"][0]:
        problems.add("mail_dns.reload begins with an empty text, which is no command")
    return result


def read_ttl(problems: Problems, given: Any) -> int:
    """Return ``mail_dns.ttl`` of another host, of whose other options nothing is read."""
    options = given if isinstance(given, Mapping) else {}
    return _ttl(problems, options.get("ttl", TTL))


def _ttl(problems: Problems, value: Any) -> int:
    return problems.integer(value, "mail_dns.ttl", 60, 604800)


def _host(value: str, option: str) -> str:
    """Return the name or the address of a host.

    :raises MailError: neither
    """
    if _names.is_ip_address(value):
        return str(_names.ip_address(value, option))
    return _names.owner_name(value, option)
