# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_filter`` and ``mail_refusals`` mean: what is taken from others, and what is refused."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

#: What becomes of mail that is not from its author's domain: the first is the default.
DMARC_ACTIONS = ("junk", "reject", "score")
#: What becomes of spam for an address whose mail goes on to another server.
FORWARDED_JUNK = ("refuse", "keep")
#: Files that run as soon as somebody opens them, on a system that people read mail with; what large providers refuse as well.
BLOCKED_EXTENSIONS = (
    "ade", "adp", "apk", "appx", "appxbundle", "bat", "cab", "chm", "cmd", "com", "cpl", "diagcab", "diagcfg", "diagpkg", "dll", "dmg",
    "ex", "ex_", "exe", "hta", "img", "ins", "iso", "isp", "jar", "jnlp", "js", "jse", "lib", "lnk", "mde", "mjs", "msc", "msi", "msix",
    "msixbundle", "msp", "mst", "nsh", "pif", "ps1", "psc1", "psm1", "reg", "scr", "sct", "settingcontent-ms", "shb", "sys",
    "vb", "vbe", "vbs", "vhd", "vhdx", "vxd", "wsc", "wsf", "wsh", "xll",
)
_EXTENSION = re.compile(r"[a-z0-9_-]{1,20}")
#: A line of the table that each MTA reads: regexp_table(5), and table(5), which must not be empty.
REFUSALS = {"postfix": r"/\^\S+\$/ 5[0-9]{2} 5\.[0-9]+\.[0-9]+ [ -~]+", "opensmtpd": r"\^\S*\$"}


def read_filter(problems: Problems, given: Any, os_family: str = "") -> dict[str, Any]:
    """Return ``mail_filter`` with every key present, and ``enabled``, whether there is a filter at all.

    :param given: its options, or false for a host without one (see :mod:`_light`)
    """
    if given is False:
        return {**read_filter(problems, {}), "enabled": False, "greylist": None, "dnsbls": False, "blocked_extensions": []}
    options = problems.mapping(given, "mail_filter", (
        "reject", "junk", "greylist", "dnsbls", "trusted", "dmarc", "arc_sealers", "blocked_extensions", "allow", "block", "antivirus",
        "forwarded_junk", "arc_seal",
    ))  # fmt: skip
    greylist = options.get("greylist", 4)
    result: dict[str, Any] = {
        "enabled": True,
        "reject": float(problems.number(options.get("reject", 15), "mail_filter.reject", 1, 1000)),
        "junk": float(problems.number(options.get("junk", 6), "mail_filter.junk", 1, 1000)),
        "greylist": None if greylist in (None, False) else float(problems.number(greylist, "mail_filter.greylist", 0, 1000)),
        "dnsbls": problems.boolean(options.get("dnsbls", True), "mail_filter.dnsbls"),
        "trusted": [],
        "dmarc": problems.choice(options.get("dmarc", DMARC_ACTIONS[0]), "mail_filter.dmarc", DMARC_ACTIONS),
        "arc_sealers": sorted({
            domain for text in problems.strings(options.get("arc_sealers"), "mail_filter.arc_sealers")
            if (domain := problems.attempt(_names.domain_name, text, "mail_filter.arc_sealers"))
        }),
    }
    result["forwarded_junk"] = problems.choice(
        options.get("forwarded_junk", FORWARDED_JUNK[0]), "mail_filter.forwarded_junk", FORWARDED_JUNK
    )
    result["arc_seal"] = problems.boolean(options.get("arc_seal", False), "mail_filter.arc_seal")
    result["antivirus"] = problems.boolean(options.get("antivirus", False), "mail_filter.antivirus")
    if result["antivirus"] and os_family == "OpenBSD":
        problems.add("mail_filter.antivirus cannot be had on OpenBSD: its package of ClamAV has not been seen at work there")
    for key in ("allow", "block"):
        result[key] = read_senders(problems, options.get(key), f"mail_filter.{key}")
    if result["allow"]["networks"]:
        problems.add(f"mail_filter.allow {shown(result['allow']['networks'][0])} is a network, which mail_filter.trusted is for")
    given_extensions = options.get("blocked_extensions", BLOCKED_EXTENSIONS)
    where = "mail_filter.blocked_extensions"
    result["blocked_extensions"] = []
    for text in [] if given_extensions is False else problems.strings(given_extensions, where):
        if not _EXTENSION.fullmatch(text.lower().removeprefix(".")):
            problems.add(f"{where} {shown(text)} is not what a file's name ends with, such as exe: at most 20 letters, digits, '_' and '-'")
        result["blocked_extensions"] = sorted({*result["blocked_extensions"], text.lower().removeprefix(".")})
    if result["dmarc"] == "score" and result["arc_sealers"]:
        problems.add("mail_filter.arc_sealers says whose seals excuse a failure of DMARC, and mail_filter.dmarc 'score' has no use for it")
    for text in problems.strings(options.get("trusted"), "mail_filter.trusted"):
        network = problems.attempt(_names.ip_network, text, "mail_filter.trusted")
        if network is not None and str(network) not in result["trusted"]:
            result["trusted"].append(str(network))
    if result["junk"] >= result["reject"]:
        limit = f"mail_filter.reject {result['reject']:g}"
        problems.add(f"mail_filter.junk {result['junk']:g} must be below {limit}: nothing would land in Junk")
    if result["greylist"] is not None and result["greylist"] >= result["reject"]:
        problems.add(f"mail_filter.greylist {result['greylist']:g} must be below mail_filter.reject {result['reject']:g}")
    return result


def read_senders(problems: Problems, given: Any, where: str) -> dict[str, list[str]]:
    """Return ``addresses``, ``domains`` and ``networks``, sorted."""
    found: dict[str, set[str]] = {"addresses": set(), "domains": set(), "networks": set()}
    for text in problems.strings(given, where):
        if re.fullmatch(r"[0-9.]+(/[0-9]+)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]+)?", text):
            network = problems.attempt(_names.ip_network, text, where)
            found["networks"] |= {str(network)} if network else set()
        elif "@" in text[1:]:
            address = problems.attempt(sinks.sender_address, text, where)
            found["addresses"] |= {address} if address else set()
        else:
            domain = problems.attempt(_names.domain_name, text.removeprefix("@"), where)
            found["domains"] |= {domain} if domain else set()
    return {kind: sorted(values) for kind, values in found.items()}


def read_refusals(problems: Problems, given: Any) -> dict[str, str]:
    """Check the tables that mailman_harden returns; no table at all is an empty dictionary."""
    options = problems.mapping(given, "mail_refusals", ("addresses", *REFUSALS))
    found = {mta: options.get(mta) for mta in REFUSALS if options}
    for mta, text in found.items():
        lines = text.splitlines() if isinstance(text, str) else [""]
        if not all(re.fullmatch(REFUSALS[mta], line) for line in lines) or (mta == "opensmtpd" and not lines):
            problems.add(f"mail_refusals.{mta} {shown(text)} is not the table that mailman_harden returns as refusals.{mta}")
            found[mta] = ""
    return found
