# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Mailman 3 is given: settings of its mailman.cfg, and the lists to declare. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import taken
from ansible_collections.postmaster.mail.plugins.module_utils._model.lists import ARCHIVER_PORT, LMTP_HOST, LMTP_PORT

#: The list of public suffixes, in Debian's package publicsuffix.
SUFFIXES = "/usr/share/publicsuffix/public_suffix_list.dat"
#: By these policies of DMARC Mailman rewrites From.
_ENFORCED = ("quarantine", "reject")

#: Sections that Debian's mailman.cfg does not have.
_ABSENT = ("dmarc",)


#: Posts of lists that are not to be archived stay out of it by the policy of the list.
_ARCHIVER = """[archiver.hyperkitty]
class: mailman_hyperkitty.Archiver
enable: yes
configuration: /etc/mailman3/mailman-hyperkitty.cfg"""

_WEB_LINES = (
    {
        "path": "/etc/mailman3/mailman-web.py",
        "pattern": r"postmaster-mail-web\.py",
        "line": 'exec(open("/etc/mailman3/postmaster-mail-web.py").read())  # postmaster.mail',
    },
    {
        "path": "/etc/mailman3/mailman-hyperkitty.cfg",
        "pattern": r"^base_url *[:=]",
        "line": f"base_url: http://127.0.0.1:{ARCHIVER_PORT}/hyperkitty/",
    },
)


def _lines(section: str, key: str, value: str) -> list[dict[str, str]]:
    """Return how a setting is written: ``name``, ``pattern`` of the line that it replaces, ``after`` what it is written where there is
    none, and ``line``."""
    head = {"name": f"[{section}]", "pattern": f"^\\[{section}\\]", "after": "EOF", "line": f"[{section}]"}
    one = {"name": key, "pattern": f"^{key} *[:=]", "after": head["pattern"], "line": f"{key}: {value}"}
    return [head, one] if section in _ABSENT else [one]


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Mailman is configured with.

    :param given: ``model``
    :returns: ``settings``, lines of mailman.cfg, see :func:`_lines`; ``domain``, whose postmaster answers for Mailman; ``archiver``, the
        section of mailman.cfg for archives; ``archiver_port``, of the loopback address; ``web_lines``, ``path``, ``pattern`` and ``line``
        of what the web interface's packages leave to others, the first of them in its own settings; ``list_domains``; ``lists``,
        as in the model; ``domains``, all of this host; and ``unenforced``, whether one of these has a DMARC policy that does not have
        Mailman rewrite From
    """
    model = given["model"]
    lists = model["lists"]
    settings = []
    domains = sorted({address.partition("@")[2] for address in lists})
    domain = domains[0] if domains else ""
    if lists:
        settings = [
            # Whom notices to owners are from, and who gets what no owner does. It exists, and programs of this host may send from it.
            ("mailman", "site_owner", f"postmaster@{domain}"),
            # Which addresses lead to Mailman, the mail server has from the inventory.
            ("mta", "incoming", "mailman.mta.null.NullMTA"),
            ("mta", "lmtp_host", LMTP_HOST),
            ("mta", "lmtp_port", str(LMTP_PORT)),
            ("mta", "smtp_host", "127.0.0.1"),
            ("mta", "smtp_port", "25"),
            # Without it Mailman asks a web server for the list, once a week, and puts posts aside that it cannot look up then.
            ("dmarc", "org_domain_data_url", f"file://{SUFFIXES}"),
        ]
    return {
        "settings": [line for section, key, value in settings for line in _lines(section, key, value)],
        "lists": lists,
        "domain": domain,
        "list_domains": domains,
        "archiver": _ARCHIVER,
        "archiver_port": ARCHIVER_PORT,
        "web_lines": [dict(line) for line in _WEB_LINES],
        "domains": taken(model["domains"]),
        "unenforced": any((options["dmarc"] or {}).get("policy") not in _ENFORCED for options in model["domains"].values()),
    }
