# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and sockets handled with care: what untrusted parties can place or send (I/O).

Private to this collection: names and behaviour change without notice.
"""
