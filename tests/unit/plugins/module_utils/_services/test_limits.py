# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.postmaster.mail.plugins.module_utils._services import limits


def test_both_mtas_have_the_same_limits():
    parameters, options = limits.postfix([]), limits.opensmtpd([])
    counted = dict(zip(options[::2], map(int, options[1::2])))
    # Postfix asks Dovecot, which asks the guard of log-ins.
    assert counted.pop("--wrong-password-rate") == limits.WRONG_PASSWORD_RATE
    assert sorted(value for value in parameters.values() if isinstance(value, int)) == sorted(counted.values())


def test_trusted_networks_have_none():
    trusted = ["198.51.100.0/24", "2001:db8::/32"]
    assert limits.postfix(trusted)["smtpd_client_event_limit_exceptions"] == "$mynetworks, 198.51.100.0/24, [2001:db8::]/32"
    assert limits.opensmtpd(trusted)[-4:] == ["--trusted", "198.51.100.0/24", "--trusted", "2001:db8::/32"]


def test_log_ins_are_not_limited_by_client():
    """An office behind one address has many."""
    assert [name for name in limits.postfix([]) if "auth" in name] == []
    assert [name for name in limits.opensmtpd([]) if "auth" in name] == []
