# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._services.protection import values


def test_who_is_trusted_is_written_as_each_reader_wants_it():
    assert values({"trusted": ["127.0.0.0/8", "127.0.0.1", "::1", "2001:DB8:0::7/128", "2001:db8:1::/48", "2001:db8:1::/64", "::1"]}) == {
        "trusted": ["127.0.0.0/8", "127.0.0.1", "::1", "2001:db8::7", "2001:db8:1::/48", "2001:db8:1::/64"],
        "ipv4": ["127.0.0.0/8"],
        "ipv6": ["::1", "2001:db8::7", "2001:db8:1::/48"],
        "wrong_password_rate": 10,
    }


def test_a_set_of_nft_is_never_empty():
    assert values({"trusted": []}) == {"trusted": [], "ipv4": ["127.0.0.1"], "ipv6": ["::1"], "wrong_password_rate": 10}


@pytest.mark.parametrize(
    "value",
    ["mail.example.org", "", "198.51.100", "198.51.100.7 2001:db8::7", "2001:db8::1%eth0",
     "2001:db8::1%\n[sshd]", "198.51.100.7\n", "\u0661.1.1.1", "198.51.100.0/255.255.255.0", 3325256711, None],
)
def test_what_is_no_network_is_refused(value):
    with pytest.raises(MailError) as caught:
        values({"trusted": ["::1", value]})
    assert str(caught.value) == (
        f"protection_trusted {value!r} is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)")


def test_a_network_with_host_bits_is_refused():
    with pytest.raises(MailError) as caught:
        values({"trusted": ["198.51.100.7/24"]})
    assert str(caught.value) == (
        "protection_trusted '198.51.100.7/24' has host bits set: the network is 198.51.100.0/24 (RFC 4632 section 3.1)")


def test_an_ipv4_address_written_as_ipv6_is_that_of_the_client():
    assert values({"trusted": ["::ffff:198.51.100.7"]})["ipv4"] == ["198.51.100.7"]
