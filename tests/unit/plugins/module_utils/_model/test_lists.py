# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``mail_lists``: what is refused, and what the rest of the model and both mail servers make of a list."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import delivery, lists
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dns, mailman, opensmtpd, postfix, rspamd

HASH = "$2b$12$" + "a" * 53
NEWS = {"news@example.org": {"owners": "me@example.org"}}
ACCEPTED = ["news-bounces", "news-confirm", "news-leave", "news-owner", "news"]
REFUSED = ["news-join", "news-request", "news-subscribe", "news-unsubscribe"]


def given(**changes):
    return {
        "fqdn": "mail.example.org",
        "domains": {"example.org": {}, "example.net": {"alias_of": "example.org"}},
        "users": {"me@example.org": {"password_hash": HASH}},
        "lists": NEWS,
        **changes,
    }


def model(**changes):
    return normalise(given(**changes), "Debian")


def peer(**changes):
    domains = {"example.org": {}, "example.net": {"alias_of": "example.org"}}
    return {"name": "two", "fqdn": "two.example.org", "addresses": ["198.51.100.2"], "domains": domains, **changes}


def of(*names):
    return [f"{name}@example.org" for name in names]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"lists": "news"}, "mail_lists must be a dictionary, not str"),
        ({"lists": {"news": {}}}, "mail_lists 'news' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
        ({"lists": {"a=b@example.org": {"owners": "me@example.org"}}},
         "mail_lists 'a=b@example.org': the name of a list has letters, digits, '.', '_' and '-', and begins with one of the former "
         "(Mailman, listname_chars)"),
        ({"lists": {"news@example.com": {"owners": "me@example.org"}}},
         "mail_lists['news@example.com'] is in a domain that mail_domains does not declare"),
        ({"lists": {"news@example.net": {"owners": "me@example.org"}}},
         "mail_lists['news@example.net'] is in a domain that has the addresses of another one, mail_domains['example.net'].alias_of: "
         "declare 'news@example.org'"),
        ({"lists": {"abuse@example.org": {"owners": "me@example.org"}}, "postmaster": "me@elsewhere.example"},
         "mail_lists['abuse@example.org']: role addresses reach a human (RFC 2142; RFC 5321 section 4.5.1)"),
        ({"lists": {**NEWS, "News@example.org": {"owners": "me@example.org"}}},
         "mail_lists['News@example.org'] is declared twice (addresses are compared without case)"),
        ({"lists": {"news@example.org": {}}},
         "mail_lists['news@example.org'].owners is needed: mail to LIST-owner has to reach a human (RFC 2142 section 6)"),
        ({"lists": {"news@example.org": {"owners": "me"}}},
         "mail_lists['news@example.org'].owners 'me' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
        ({"lists": {"news@example.org": {"owners": "you@example.org"}}},
         "mail_lists['news@example.org'].owners 'you@example.org' is neither a user nor an alias"),
        ({"lists": {"news@example.org": {"owners": "news-owner@example.org"}}},
         "mail_lists['news@example.org'].owners 'news-owner@example.org' is an address of a list, and an owner is a human"),
        ({"lists": {"news@example.org": {"owners": "gone@example.org"}}, "aliases": {"gone@example.org": {"discard": True}}},
         "mail_lists['news@example.org'].owners 'gone@example.org' takes no mail (mail_aliases)"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "style": "anounce"}}},
         "mail_lists['news@example.org'].style 'anounce' is unknown (did you mean 'announce'?); it is one of discussion, announce, "
         "private"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "posts": "all"}}},
         "mail_lists['news@example.org'].posts 'all' is unknown; it is one of members, owners, anyone"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "commands": ["confirm"]}}},
         "mail_lists['news@example.org'].commands 'confirm' is unknown; it is of join, leave, request, subscribe, unsubscribe"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "description": "a\nb"}}},
         "mail_lists['news@example.org'].description 'a\\nb' has the control character '\\n', which no file that it is written to could "
         "carry"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "description": "a" * 201}}},
         f"mail_lists['news@example.org'].description '{'a' * 201}' is longer than the 200 characters that fit a line of a header"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "members": []}}},
         "mail_lists['news@example.org'] has no key 'members'; it knows owners, style, posts, description, commands, archive"),
        ({"aliases": {"news-owner@example.org": "me@example.org"}},
         "mail_lists['news@example.org'] has the address 'news-owner@example.org', which mail_aliases declares: every list has LIST and "
         "LIST-bounces, LIST-confirm, LIST-join, LIST-leave, LIST-owner, LIST-request, LIST-subscribe, LIST-unsubscribe"),
        ({"lists": {**NEWS, "news-request@example.org": {"owners": "me@example.org"}}},
         "mail_lists['news@example.org'] has the address 'news-request@example.org', which mail_lists declares: every list has LIST and "
         "LIST-bounces, LIST-confirm, LIST-join, LIST-leave, LIST-owner, LIST-request, LIST-subscribe, LIST-unsubscribe"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "archive": "public"}}},
         "mail_lists['news@example.org'].archive needs mail_lists_web, the name of the web interface: without it there is no archive to "
         "read"),
        ({"lists": {"news@example.org": {"owners": "me@example.org", "archive": "open"}}, "lists_web": "lists.example.org"},
         "mail_lists['news@example.org'].archive 'open' is unknown; it is one of private, public, never"),
        ({"lists_web": "lists.example.org", "lists": {}},
         "mail_lists_web 'lists.example.org' is the web interface of mailing lists, and mail_lists has none: take it out, and what it made "
         "is disabled while there are lists still"),
        ({"lists_web": "lists.example.com"},
         "mail_lists_web 'lists.example.com' is neither mail_fqdn nor in a domain of mail_domains: its address records are published like "
         "theirs"),
        ({"lists_web": "lists.example.org", "domains": {"example.org": {}, "lists.example.org": {"parked": True}}},
         "mail_lists_web 'lists.example.org' is parked (mail_domains['lists.example.org']), and a parked name leads nowhere"),
        ({"lists_web": "lists"},
         "mail_lists_web 'lists' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"),
        ({"lists_web": ["lists.example.org"]}, "mail_lists_web ['lists.example.org'] must be a string, not list"),
        *(({"recipient_delimiter": text},
           f"mail_recipient_delimiter '{text}' must have a '+' and no '-' where mail_lists has lists: Mailman writes LIST-bounces+MEMBER, "
           "and LIST-anything must not be taken for LIST") for text in ("-", "+-", ".")),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_is_refused(changes, rule):
    with pytest.raises(MailError) as error:
        model(**changes)
    assert list(error.value.rules) == [rule]


def test_openbsd_has_no_mailman():
    with pytest.raises(MailError) as error:
        normalise(given(), "OpenBSD")
    rule = "mail_lists cannot be had: OpenBSD has no package of Mailman 3: have the lists on a host with Debian"
    assert list(error.value.rules) == [rule]


def test_one_host_has_the_lists_of_a_domain():
    rule = ("mail_lists['news@example.org']: host two.example.org takes mail for example.org as well, and Mailman is on one host: give "
            "lists a domain of their own, which one host serves")
    with pytest.raises(MailError) as error:
        normalise(given(addresses=["198.51.100.1"]), "Debian", [peer()])
    assert rule in error.value.rules
    assert normalise(given(addresses=["198.51.100.1"]), "Debian", [peer(backup=True)])["lists"]


def test_a_role_that_knows_no_users_takes_any_owner():
    lists = {"news@example.org": {"owners": "you@example.org"}}
    assert normalise({"domains": {"example.org": {}}, "lists": lists}, "Debian")["lists"]


def test_defaults():
    assert model()["lists"] == {"news@example.org": {
        "owners": ["me@example.org"], "style": "discussion", "posts": "members", "description": "", "commands": ["leave"],
        "archive": None,
    }}  # fmt: skip
    announce = {"news@example.org": {"owners": ["me@example.org"], "style": "announce"}}
    assert model(lists=announce)["lists"]["news@example.org"]["posts"] == "owners"
    assert model(lists={})["lists"] == {}


def test_with_a_web_interface_members_read_the_archive_unless_the_list_says_otherwise():
    made = model(lists_web="Lists.example.org.", lists={**NEWS, "talk@example.org": {"owners": "me@example.org", "archive": "public"}})
    assert [options["archive"] for options in made["lists"].values()] == ["private", "public"]
    assert (made["lists_web"], made["certificates"]["names"]) == ("lists.example.org", ["lists.example.org"])
    assert model(lists_web="mail.example.org")["certificates"]["names"] == []


def test_a_web_interface_is_on_the_host_that_has_the_lists():
    web = {"addresses": ["198.51.100.1"], "lists_web": "two.example.org"}
    rule = "mail_lists_web 'two.example.org' is the name of another host: a name leads to one server"
    with pytest.raises(MailError) as error:
        normalise(given(**web), "Debian", [peer()])
    assert rule in error.value.rules
    web["lists"] = {"news@example.org": {"owners": "me@example.org", "archive": "public"}}
    made = normalise(given(**{**web, "lists_web": "lists.example.org"}), "Debian", [peer()], backup=True)
    assert (made["lists_web"], made["certificates"]["names"], dns.web_records(made)) == ("", [], [])


def test_the_name_of_the_web_interface_leads_to_the_server():
    made = model(lists_web="lists.example.org", addresses=["198.51.100.1", "2001:db8::1"])
    expected = [("A", ["198.51.100.1"]), ("AAAA", ["2001:db8::1"])]
    assert [(record["type"], record["values"]) for record in dns.web_records(made)] == expected
    planned = [record for record in dns.records(made) if record["name"] == "lists.example.org"]
    assert planned == dns.web_records(made)
    assert dns.web_records(model(lists_web="mail.example.org", addresses=["198.51.100.1"])) == []
    assert dns.web_records(model()) == []


def test_an_alias_may_lead_to_a_list_and_nobody_owns_what_leads_there():
    made = model(aliases={"all@example.org": "news@example.org"}, domains={"example.org": {"catch_all": "me@example.org"}})
    assert delivery.members(made, "all@example.org") == []
    senders = delivery.owners(made)
    assert (senders["news@example.org"], senders["news-owner@example.org"], senders["@example.org"]) == ([], [], ["me@example.org"])


def test_what_takes_mail_and_what_is_refused():
    made = model()
    assert delivery.list_addresses(made) == of(*ACCEPTED)
    assert made["no_mail"] == dict.fromkeys(of(*REFUSED), lists.REFUSAL)
    assert lists.commands(made) == of("news-confirm", "news-leave")
    silent = model(lists={"news@example.org": {"owners": "me@example.org", "commands": []}})
    assert lists.commands(silent) == []


def test_a_catch_all_does_not_take_the_mail_of_lists():
    made = delivery.delivery(model(domains={"example.org": {"catch_all": "me@example.org"}}))
    assert {name for name, targets in made["aliases"].items() if targets == [name]} == {*of("me", *ACCEPTED)}


def test_mailman_may_send_as_its_lists_and_no_other_account():
    found = delivery.delivery(model())["host_senders"]
    assert {name for name, accounts in found.items() if accounts == ["list"]} == set(of(*ACCEPTED, *REFUSED))


def test_postfix():
    tables = postfix.tables({"model": model(), "srs": False, "hide_submitter": False})
    transports = tables["postfix/tables/transport"].splitlines()
    assert [line for line in transports if "lmtp" in line] == [f"{name} lmtp:[127.0.0.1]:8024" for name in of(*ACCEPTED)]
    assert f"news-join@example.org error:5.2.1 {lists.REFUSAL}" in transports
    assert tables["postfix/tables/mailboxes"].splitlines()[1:] == [f"{name} mailbox" for name in of("me", *ACCEPTED)]
    assert f"news-join@example.org 550 5.2.1 {lists.REFUSAL}" in tables["postfix/tables/no_mail"]


def test_opensmtpd():
    made = model()
    tables = opensmtpd.tables({"model": made, "owner": "vmail"})
    assert tables["smtpd/tables/lists"].splitlines() == of(*ACCEPTED)
    assert not set(of(*ACCEPTED)) & set(tables["smtpd/tables/recipients"].splitlines())
    values = {"model": made, "rdns": "score", "fcrdns": "score", "dynamic": "score"}
    assert opensmtpd.values(values)["lists"] == "lmtp://127.0.0.1:8024"
    without = model(lists={})
    assert "smtpd/tables/lists" not in opensmtpd.tables({"model": without, "owner": "vmail"})
    assert opensmtpd.values({**values, "model": without})["lists"] == ""


def test_a_backup_mx_knows_the_addresses_and_has_no_mailman():
    made = normalise(given(addresses=["198.51.100.1"]), "Debian", [peer()], True)
    tables = postfix.tables({"model": made, "srs": False, "hide_submitter": False})
    assert "lmtp" not in tables["postfix/tables/transport"]
    assert "news@example.org mailbox" in tables["postfix/tables/mailboxes"]
    tables = opensmtpd.tables({"model": made, "owner": "vmail"})
    assert "smtpd/tables/lists" not in tables
    assert "news@example.org" in tables["smtpd/tables/recipients"].splitlines()


def test_rspamd_knows_what_lists_send_from_and_what_answers():
    found = rspamd.values({"model": model()})
    assert (found["lists"], found["commands"]) == (of("news-bounces"), of("news-confirm", "news-leave"))


def test_mailman():
    found = mailman.values({"model": model()})
    lines = {setting["name"]: setting for setting in found["settings"]}
    assert lines["site_owner"] == {
        "name": "site_owner", "pattern": "^site_owner *[:=]", "after": r"^\[mailman\]",
        "line": "site_owner: postmaster@example.org",
    }  # fmt: skip
    assert lines["incoming"]["line"] == "incoming: mailman.mta.null.NullMTA"
    assert lines["[dmarc]"] == {"name": "[dmarc]", "pattern": r"^\[dmarc\]", "after": "EOF", "line": "[dmarc]"}
    assert list(lines).index("[dmarc]") < list(lines).index("org_domain_data_url")
    assert (found["domains"], found["unenforced"]) == (["example.net", "example.org"], False)
    assert mailman.values({"model": model(domains={"example.org": {"dmarc": {"policy": "none"}}})})["unenforced"] is True
    assert mailman.values({"model": model(lists={})})["settings"] == []
