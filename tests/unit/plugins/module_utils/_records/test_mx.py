# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._records import mx


def test_values_are_in_the_order_in_which_they_are_tried():
    assert mx.values({"b.test": 20, "a.test": 20, "c.test": 5}) == ["5 c.test.", "20 a.test.", "20 b.test."]


@pytest.mark.parametrize(("value", "host"), [("10 Mail.Example.ORG.", "mail.example.org"), ("0 .", ""), ("10 a.test", "a.test")])
def test_the_host_of_a_value(value, host):
    assert mx.host(value) == host


def test_whoever_is_not_declared_is_named_with_the_way_out():
    assert mx.undeclared("example.org", ["10 Ours.test.", "0 ."], ["ours.test."]) == []
    assert mx.undeclared("example.org", ["50 two.test.", "10 ours.test.", "20 one.test."], ["ours.test"]) == [
        "example.org: the MX records have '20 one.test.', '50 two.test.', which the inventory does not declare. Add to the domain's mx in "
        "mail_domains, with its preference, what is to go on taking mail ('one.test': 20), and with false what is not ('one.test': false)"
    ]
