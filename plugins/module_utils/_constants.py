# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Constants that several rooms need. Imports nothing, so that whoever needs one ships nothing else."""

from __future__ import annotations

#: RFC 2142 sections 4 and 5; postmaster is demanded by RFC 5321 section 4.5.1.
ROLE_NAMES = ("postmaster", "abuse", "hostmaster", "webmaster", "security", "noc")
#: Of the host itself: who its programs write to, and who its bounces are from.
HOST_NAMES = ("mailer-daemon", "root")

#: An address that takes no mail, in an answer (RFC 3463 section 3.3).
REFUSED = "5.2.1"

#: What the domain of a forwarded recipient ends in on its way through this host. No such domain exists (RFC 6761 section 6.4),
#: so nothing is ever sent there by mistake.
SRS_SUFFIX = "srs.invalid"
