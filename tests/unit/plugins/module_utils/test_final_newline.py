# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No validator takes a value with a newline behind it: C($) of a regular expression matches before one."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import (
    _config_tree_rules,
    _dkim,
    _dmarc,
    _dovecot,
    _mailman,
    _mta_sts,
    _names,
    _resolver,
    _rspamd,
    _spf,
    _tls_rpt,
)
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (_names.domain_name, "example.org"),
        (_names.owner_name, "_dmarc.example.org"),
        (_names.selector, "s1"),
        (_names.new_selector, "s1"),
        (_names.address, "me@example.org"),
        (lambda text: _names.address(f"{text}@example.org"), "me"),
        (_names.ip_address, "192.0.2.1"),
        (_spf.term, "mx"),
        (_spf.term, "mx/24"),
        (_spf.term, "a:mail.example.org"),
        (_spf.term, "include:example.org"),
        (_spf.term, "ip4:192.0.2.1/24"),
        (_spf.term, "ip6:2001:db8::/32"),
        (_spf.term, "redirect=example.org"),
        (_spf.term, "exists:%{i}.example.org"),
        (_spf.parse, "v=spf1"),
        (_dmarc.report_uri, "mailto:me@example.org"),
        (_dmarc.parse, "v=DMARC1"),
        (lambda text: _dkim.name(text, "example.org"), "s1"),
        (_mta_sts.name, "example.org"),
        (_tls_rpt.name, "example.org"),
        (lambda text: _mta_sts.policy([text]), "mail.example.org"),
        (_config_tree_rules.tree_id, "postfix"),
        (lambda text: _config_tree_rules.octal_mode(text, "mode"), "0644"),
        (lambda text: _config_tree_rules.relative_path(text, "exclude"), "main.cf"),
        (lambda text: _mailman.format_config({text: 1}), "max_message_size"),
        (lambda text: _dovecot.passwd_file({f"{text}@example.org": {"password_hash": "x"}}, "2.4"), "me"),
        (lambda text: _dovecot.header_test({text: "yes"}), "X-Spam"),
        (_resolver.forwarder, "192.0.2.1@53"),
        (_resolver.forwarder, "192.0.2.1#dns.example.org"),
        (lambda text: _rspamd.dnsbls([text]), "zen.example.org"),
    ],
)
def test_a_value_with_a_newline_behind_it_is_refused(check, value):
    check(value)
    with pytest.raises(MailError):
        check(value + "\n")


def test_an_interval_with_a_newline_behind_it_is_none():
    assert _mailman.seconds("7d") == 604800
    assert _mailman.seconds("7d\n") is None
