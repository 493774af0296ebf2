# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The DNS records of mail as text: SPF, DKIM, DMARC, MTA-STS, TLS-RPT, TLSA, and the strings of TXT. Pure functions.

Private to this collection: names and behaviour change without notice.
"""
