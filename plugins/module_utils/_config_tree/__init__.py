# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files staged, checked and swapped as a whole: the rules (pure) and the engine (I/O).

Private to this collection: names and behaviour change without notice.
"""
