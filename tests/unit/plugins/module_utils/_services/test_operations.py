# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._services import operations


def test_values():
    given = {"log_days": 30, "summary": True, "os_family": "Debian"}
    assert operations.values(given) == {"log_days": 30, "summary": True}
    assert operations.values({**given, "log_days": 0, "os_family": "OpenBSD"})["log_days"] == 0
    with pytest.raises(MailError) as found:
        operations.values({**given, "os_family": "OpenBSD"})
    assert str(found.value) == ("operations_log_days 30 cannot be had on OpenBSD, where /etc/newsyslog.conf says for how many days "
                                "/var/log/maillog is kept (newsyslog.conf(5))")  # fmt: skip
