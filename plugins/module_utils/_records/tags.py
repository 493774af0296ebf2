# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The form that DKIM and DMARC records have in common: a tag-list (RFC 6376 section 3.2, RFC 9989 section 4.7). Pure functions."""

from __future__ import annotations

import re

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

_TAG_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*\Z")


def tag_list(text: str, what: str) -> dict[str, str]:
    """Return the tags of a tag-list in their order, values stripped of white space at both ends (RFC 6376 section 3.2).

    :raises MailError: a tag without ``=`` or with a bad name, or one that is there twice
    """
    tags: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        tag, equals, value = part.partition("=")
        tag = tag.strip()
        if not equals or not _TAG_NAME.match(tag):
            raise MailError(f"{what} has {part.strip()!r}, which is not a tag=value (RFC 6376 section 3.2)")
        if tag in tags:
            raise MailError(f"{what} has the tag {shown(tag)} twice, which makes all of it invalid (RFC 6376 section 3.2)")
        tags[tag] = value.strip()
    return tags
