# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._system import (
    host_addresses,
    impossible,
    missing_packages,
    stem,
    usual_mta,
)


@pytest.mark.parametrize(("family", "mta"), [("OpenBSD", "opensmtpd"), ("Debian", "postfix"), ("", "postfix")])
def test_openbsd_has_an_mta_of_its_own(family, mta):
    assert usual_mta(family) == mta


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
    assert stem(spec) == name


def facts(source, *packages):
    return {name: [{"name": name, "version": version, "source": source}] for name, version in packages}


def test_what_pkg_info_found_is_not_missing():
    # As package_facts splits rspamd-3.13.1, postfix-3.11.1-sasl2 and dovecot-pigeonhole-0.5.21.1v1.
    installed = facts("pkg_info", ("rspamd", "3.13.1"), ("postfix-3.11.1", "sasl2"), ("dovecot-pigeonhole", "0.5.21.1v1"))
    wanted = ["rspamd--", "postfix--%stable", "dovecot-pigeonhole", "dovecot", "redis%bsd"]
    assert missing_packages(wanted, installed) == ["dovecot", "redis%bsd"]


def test_a_number_in_a_debian_name_is_part_of_it():
    assert missing_packages(["lib", "lib-3"], facts("apt", ("lib-3", "1.0"))) == ["lib"]


def test_without_facts_everything_is_missing():
    assert missing_packages(["dovecot", "rspamd--"], {}) == ["dovecot", "rspamd--"]


def test_openbsd_cannot_answer_by_dns():
    assert "HTTP" in impossible("OpenBSD", "acme-dns")
    assert not impossible("OpenBSD", "acme-http") and not impossible("Debian", "acme-dns")


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
