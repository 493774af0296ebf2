# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.postmaster.mail.plugins.module_utils import _limits


def test_both_mtas_have_the_same_limits():
    parameters, options = _limits.postfix([]), _limits.opensmtpd([])
    assert sorted(value for value in parameters.values() if isinstance(value, int)) == sorted(map(int, options[1::2]))
    assert parameters["smtpd_client_connection_count_limit"] == int(options[options.index("--connections") + 1])


def test_trusted_networks_have_none():
    trusted = ["198.51.100.0/24", "2001:db8::/32"]
    assert _limits.postfix(trusted)["smtpd_client_event_limit_exceptions"] == "$mynetworks, 198.51.100.0/24, [2001:db8::]/32"
    assert _limits.opensmtpd(trusted)[-4:] == ["--trusted", "198.51.100.0/24", "--trusted", "2001:db8::/32"]
