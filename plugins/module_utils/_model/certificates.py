# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_certificates`` means: where the certificate comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _secret_text
from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

CERTIFICATE_METHODS = ("acme-http", "acme-dns", "files", "self-signed")
CERTIFICATE_KEYS = ("method", "email", "directory", "ca", "names", "key", "chain")

#: What cannot be had on a system, and why.
_WITHOUT = {
    ("OpenBSD", "acme-dns"): "acme-client(1) answers challenges over HTTP alone",
}


def impossible(os_family: str, choice: str) -> str:
    """Return why a method of getting certificates cannot be had on a system; empty where it can."""
    return _WITHOUT.get((os_family, choice), "")


def read_certificates(problems: Problems, given: Any, dns: Mapping[str, Any], os_family: str) -> dict[str, Any]:
    options = problems.mapping(given, "mail_certificates", CERTIFICATE_KEYS)
    result = {
        "method": problems.choice(options.get("method", "acme-http"), "mail_certificates.method", CERTIFICATE_METHODS),
        "email": problems.text(options.get("email"), "mail_certificates.email"),
        "directory": problems.text(options.get("directory"), "mail_certificates.directory"),
        "ca": problems.attempt(
            _secret_text.without_private_key, problems.text(options.get("ca"), "mail_certificates.ca") or "", "mail_certificates.ca"
        )
        or None,
        "names": [
            name
            for text in problems.strings(options.get("names"), "mail_certificates.names")
            if (name := problems.attempt(_names.domain_name, text, "mail_certificates.names"))
        ],
        "key": problems.text(options.get("key"), "mail_certificates.key"),
        "chain": problems.text(options.get("chain"), "mail_certificates.chain"),
    }
    checks = {
        "email": sinks.contact_address, "directory": sinks.url, "ca": sinks.pem, "key": sinks.pem_or_path, "chain": sinks.pem_or_path,
    }  # fmt: skip
    for key, check in checks.items():
        if result[key]:
            result[key] = problems.attempt(check, result[key], f"mail_certificates.{key}")
    if result["method"] == "files":
        for key in ("key", "chain"):
            if not options.get(key):
                problems.add(f"mail_certificates.{key} is needed by mail_certificates.method 'files'")
    if result["method"] == "acme-dns" and dns["backend"] != "rfc2136":
        problems.add("mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' to answer the challenge (RFC 8555 section 8.4)")
    reason = impossible(os_family, result["method"])
    if reason:
        problems.add(
            f"mail_certificates.method {shown(result['method'])} cannot be had on {os_family}: {reason}; use acme-http, files or "
            f"self-signed"
        )
    return result
