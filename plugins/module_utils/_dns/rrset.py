# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The records of one type at one name (RFC 2181 section 5), and what becomes of them. Values, without I/O."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import Rdata

#: RFC 2181 section 8.
MAX_TTL = 2**31 - 1


@dataclass(frozen=True)
class RRset:
    """The records of one type at one name; ``ttl`` is None when there are none.

    ``mixed`` says that the lines of a zone file give them several TTLs, of which ``ttl`` is the lowest: servers differ in which of
    them they take (RFC 2181 section 5.2).
    """

    values: tuple[Rdata, ...] = ()
    ttl: int | None = None
    mixed: bool = False

    @functools.cached_property
    def keys(self) -> Counter[bytes]:
        """How often each value is there, by its :attr:`Rdata.key`."""
        return Counter(value.key for value in self.values)

    @property
    def texts(self) -> list[str]:
        return sorted(value.text for value in self.values)


@dataclass(frozen=True)
class Change:
    """What becomes of one RRset; nothing when ``changed`` is false."""

    zone: str
    name: str
    type: str
    before: RRset
    after: RRset

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.type

    @property
    def values_changed(self) -> bool:
        return self.before.keys != self.after.keys

    @property
    def ttl_changed(self) -> bool:
        before, after = self.before, self.after
        return bool(before.values and after.values) and (before.ttl, before.mixed) != (after.ttl, after.mixed)

    @property
    def changed(self) -> bool:
        return self.values_changed or self.ttl_changed
