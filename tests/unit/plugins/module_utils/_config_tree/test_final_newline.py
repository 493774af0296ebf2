# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No validator takes a value with a newline behind it: ``$`` of a regular expression matches before one."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import rules
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import rules as mailman
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim, dmarc, mta_sts, spf, tls_rpt
from ansible_collections.postmaster.mail.plugins.module_utils._services import dovecot, rspamd, unbound


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
        (spf.term, "mx"),
        (spf.term, "mx/24"),
        (spf.term, "a:mail.example.org"),
        (spf.term, "include:example.org"),
        (spf.term, "ip4:192.0.2.1/24"),
        (spf.term, "ip6:2001:db8::/32"),
        (spf.term, "redirect=example.org"),
        (spf.term, "exists:%{i}.example.org"),
        (spf.parse, "v=spf1"),
        (dmarc.report_uri, "mailto:me@example.org"),
        (dmarc.parse, "v=DMARC1"),
        (lambda text: dkim.name(text, "example.org"), "s1"),
        (mta_sts.name, "example.org"),
        (tls_rpt.name, "example.org"),
        (lambda text: mta_sts.policy([text]), "mail.example.org"),
        (rules.tree_id, "postfix"),
        (lambda text: rules.octal_mode(text, "mode"), "0644"),
        (lambda text: rules.relative_path(text, "exclude"), "main.cf"),
        (lambda text: mailman.format_config({text: 1}), "max_message_size"),
        (lambda text: dovecot.passwd_file({f"{text}@example.org": {"password_hash": "x"}}, "2.4"), "me"),
        (lambda text: dovecot.header_test({text: "yes"}), "X-Spam"),
        (unbound.forwarder, "192.0.2.1@53"),
        (unbound.forwarder, "192.0.2.1#dns.example.org"),
        (lambda text: rspamd.dnsbls([text]), "zen.example.org"),
    ],
)
def test_a_value_with_a_newline_behind_it_is_refused(check, value):
    check(value)
    with pytest.raises(MailError):
        check(value + "\n")


def test_an_interval_with_a_newline_behind_it_is_none():
    assert mailman.seconds("7d") == 604800
    assert mailman.seconds("7d\n") is None
