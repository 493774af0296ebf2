# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS-RPT records: where reports about TLS failures go (RFC 8460). Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._records import dmarc


def name(domain: str) -> str:
    """Return the name of the record, without a trailing dot (RFC 8460 section 3)."""
    return f"_smtp._tls.{_names.domain_name(domain)}"


def build(rua: Iterable[str]) -> str:
    """Return the value of the record.

    :param rua: mail addresses or mailto: and https: URIs
    :raises MailError: none given, or one that is neither (RFC 8460 section 3)
    """
    if isinstance(rua, (str, bytes, Mapping)) or not isinstance(rua, Iterable):
        raise MailError(f"rua {shown(rua)} must be a list of strings")
    uris = list(dict.fromkeys(dmarc.report_uri(value, "rua") for value in rua))
    if not uris:
        raise MailError("rua must name at least one address or URI (RFC 8460 section 3)")
    return "v=TLSRPTv1; rua=" + ",".join(uris)
