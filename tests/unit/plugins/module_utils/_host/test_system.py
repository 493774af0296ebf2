# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._host.system import host_addresses, missing_packages


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("rspamd--", "rspamd"),
        ("rspamd--hyperscan", "rspamd"),
        ("redis%bsd", "redis"),
        ("postfix--%stable", "postfix"),
        ("python%3", "python"),
        ("py3-cryptography", "py3-cryptography"),
        ("dovecot-pigeonhole", "dovecot-pigeonhole"),
        ("opensmtpd=7.4.*", "opensmtpd"),
    ],
)
def test_the_name_in_what_a_package_manager_is_asked_for(spec, name):
    assert missing_packages([spec], {name: "7.4.0p1-1~bpo12+1"}) == []
    assert missing_packages([spec], {f"{name}x": "7.4.0p1-1~bpo12+1"}) == [spec]


def test_another_version_than_is_asked_for_is_missing():
    assert missing_packages(["opensmtpd=7.4.*", "postfix"], {"opensmtpd": "6.8.0p2-4+b3", "postfix": "3.7"}) == ["opensmtpd=7.4.*"]


def test_a_number_in_a_debian_name_is_part_of_it():
    assert missing_packages(["lib", "lib-3"], {"lib-3": "1.0"}) == ["lib"]


def test_without_facts_everything_is_missing():
    assert missing_packages(["dovecot", "rspamd--"], {}) == ["dovecot", "rspamd--"]


LINK_LOCAL = "fe80::5054:ff:fe12:3456%vio0"
GLOBAL = "2001:db8:100::45"


@pytest.mark.parametrize(
    ("given", "ipv6"),
    [
        ({"default_ipv6": {"address": GLOBAL, "interface": "vio0"}}, GLOBAL),
        # As behind a link-local gateway on OpenBSD: what the interface has besides, else what the host has elsewhere.
        (
            {
                "default_ipv6": {"address": LINK_LOCAL, "interface": "vio0"},
                "vio0": {"ipv6": [{"address": LINK_LOCAL}, {"address": GLOBAL}]},
                "all_ipv6_addresses": [LINK_LOCAL, "2001:db8::9", GLOBAL],
            },
            GLOBAL,
        ),
        ({"default_ipv6": {"address": LINK_LOCAL, "interface": "vio0"}, "all_ipv6_addresses": [LINK_LOCAL, GLOBAL]}, GLOBAL),
        ({"default_ipv6": {"address": LINK_LOCAL, "interface": "vio0"}, "all_ipv6_addresses": [LINK_LOCAL]}, ""),
        # Without a default route nothing leaves, whatever addresses there are.
        ({"default_ipv6": {}, "all_ipv6_addresses": [LINK_LOCAL, GLOBAL]}, ""),
        ({}, ""),
    ],
)
def test_the_address_that_a_host_sends_from_is_none_of_a_link(given, ipv6):
    assert host_addresses({"default_ipv4": {"address": "198.51.100.45"}, **given}) == {"ipv4": "198.51.100.45", "ipv6": ipv6}
