# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``mail_filter: false``: what a host without the filter cannot have is refused, by name."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import light
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise

USER = {"password_hash": "$2b$12$" + "a" * 53}
BASE = {"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": {"me@example.org": USER}}
INSTEAD = "Take it out, or have mail_filter be a dictionary, such as {}"
COUNTED = f"cannot be had with mail_filter false: recipients are counted by the filter, in its store. {INSTEAD}"
FORWARDED = (
    "an address of another server, cannot be had with mail_filter false: spam would be forwarded in this server's name, and reports of "
    "what is refused there would go to forged senders. Have it lead to a mailbox here, whose user can redirect mail by a Sieve script, "
    "or have mail_filter be a dictionary, such as {}"
)


def rules(filtered=False, backup=False, **given):
    try:
        normalise({**BASE, **given, "filter": filtered}, "Debian", (), backup)
    except MailError as exc:
        return list(exc.rules)
    return []


def with_user(**options):
    return {"me@example.org": {**USER, **options}}


NEEDS_THE_FILTER = [
    ({"limits": {"day": 10}}, f"mail_limits {COUNTED}"),
    ({"users": with_user(limit=5)}, f"mail_users['me@example.org'].limit {COUNTED}"),
    ({"users": with_user(allow=["a@example.net"])},
     "mail_users['me@example.org'].allow cannot be had with mail_filter false: without a filter no mail is taken for junk, so there is "
     f"none to take out of it. {INSTEAD}"),
    ({"lists": {"list@example.org": {"owners": ["me@example.org"]}}},
     "mail_lists['list@example.org'] cannot be had with mail_filter false: the filter signs what lists send, and refuses forged commands "
     f"to them. {INSTEAD}"),
    ({"aliases": {"away@example.org": "me@example.net"}}, f"mail_aliases['away@example.org'] 'me@example.net', {FORWARDED}"),
    ({"domains": {"example.org": {"catch_all": ["me@example.net"]}}},
     f"mail_domains['example.org'].catch_all 'me@example.net', {FORWARDED}"),
    ({"postmaster": "me@example.net"}, f"mail_postmaster 'me@example.net', {FORWARDED}"),
    ({"relays": {"scanner": {"hosts": ["192.0.2.7"], "domains": ["example.org"]}}},
     "mail_relays['scanner'] cannot be had with mail_filter false: the filter signs what hosts and accounts of others send, and asks as "
     f"whom they may. {INSTEAD}"),
    ({"sizing": {"rspamd_workers": 2}},
     f"mail_sizing.rspamd_workers cannot be had with mail_filter false: it is the size of a service of the filter. {INSTEAD}"),
    ({"sizing": {"store_learnt_mib": 64}},
     f"mail_sizing.store_learnt_mib cannot be had with mail_filter false: it is the size of a service of the filter. {INSTEAD}"),
]


@pytest.mark.parametrize(("given", "rule"), NEEDS_THE_FILTER)
def test_what_needs_the_filter_is_refused_without_one(given, rule):
    assert rules(**given) == [rule]


@pytest.mark.parametrize("given", [given for given, _rule in NEEDS_THE_FILTER])
def test_and_is_taken_with_one(given):
    assert rules(filtered={}, **given) == []


def test_a_backup_mx_has_a_filter():
    assert rules(backup=True)[-1:] == [
        "A backup MX (group mail_relays) cannot be had with mail_filter false: it has to refuse what its primary would refuse. Have the "
        "host's mail_filter be a dictionary, such as {}, as its primary's is"
    ]


@pytest.mark.parametrize("given", [
    {},
    {"users": with_user(limit=False, block=["a@example.net"], quota="1G", locked="sending", senders=["@example.org"])},
    {"aliases": {"team@example.org": "me@example.org"}, "sizing": {"unbound_threads": 1}, "mailboxes": {"pop3": True}},
])  # fmt: skip
def test_what_the_mta_and_dovecot_do_by_themselves_stays(given):
    assert rules(**given) == []


def test_the_filter_is_off_and_its_options_have_defaults():
    found = normalise({**BASE, "filter": False})["filter"]
    assert (found["enabled"], found["greylist"], found["dnsbls"], found["antivirus"]) == (False, None, False, False)
    assert found.keys() == normalise(BASE)["filter"].keys() and normalise(BASE)["filter"]["enabled"] is True


@pytest.mark.parametrize(("given", "shown"), [(True, "bool"), ("no", "str"), (0, "int")])
def test_only_false_means_none(given, shown):
    assert rules(filtered=given) == [f"mail_filter must be a dictionary, not {shown}"]


def refusals(mta, os_family="Debian", filtered=False, **given):
    return list(light.refusals(normalise({**BASE, **given, "filter": filtered}, os_family), mta, os_family))


@pytest.mark.parametrize("mta", ["postfix", "opensmtpd"])
def test_openbsd_has_a_filter(mta):
    assert refusals(mta, "OpenBSD") == [
        "mail_filter false cannot be had on OpenBSD in this release: what signs without Rspamd has not been seen at work there. Have "
        "mail_filter be a dictionary, such as {}"
    ]
    assert refusals(mta, "OpenBSD", {}) == []


def test_filter_dkimsign_has_one_key():
    two = {"example.org": {}, "example.net": {}, "example.com": {"dkim": False}}
    assert refusals("opensmtpd", domains=two) == [
        "mail_domains has 2 domains with DKIM, such as example.net and example.org, which cannot be had with mail_filter false: "
        "filter-dkimsign signs all mail with one key, in the name of its domain. Use mail_mta: postfix, whose signer knows one for each, "
        "or set dkim: false for all but one, or have mail_filter be a dictionary, such as {}"
    ]
    one = {**two, "example.net": {"dkim": False}}
    assert refusals("opensmtpd", domains=one) == refusals("postfix", domains=two) == refusals("opensmtpd", filtered={}, domains=two) == []


def test_opensmtpd_does_not_know_as_whom_programs_may_send():
    given = {"host_senders": {"www-data": "shop@example.org"}}
    assert refusals("opensmtpd", **given) == [
        "mail_host_senders cannot be had with mail_filter false: OpenSMTPD has the filter ask as whom programs of this host may send. Take "
        "it out, by which they may send as anybody, use mail_mta: postfix, or have mail_filter be a dictionary, such as {}"
    ]
    assert refusals("postfix", **given) == []


def test_what_is_set_for_rspamd_is_refused():
    assert list(light.unused("rspamd", ["rspamd_filter", "rspamd_dnsbls"])) == [
        f"rspamd_dnsbls cannot be had with mail_filter false: the host has no Rspamd. {INSTEAD}"
    ]
    assert list(light.unused("postfix", ["postfix_settings"])) == []
