# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail allow and block: what is a sender, and the lists that the filter reads."""

from __future__ import annotations

import pytest
from operations import Host
from postmaster_mail import cli, senders
from postmaster_mail.text import Failure


@pytest.mark.parametrize(
    ("what", "file", "line"),
    [
        ("Friend@Example.COM", "blocked", "friend@example.com"),
        ("example.com", "blocked", "@example.com"),
        ("@Example.com.", "blocked", "@example.com"),
        ("top", "blocked", "@top"),
        ("münchen.example", "blocked", "@xn--mnchen-3ya.example"),
        ("198.51.100.7", "blocked-networks", "198.51.100.7/32"),
        ("198.51.100.0/24", "blocked-networks", "198.51.100.0/24"),
        ("2001:DB8::/32", "blocked-networks", "2001:db8::/32"),
    ],
)
def test_senders(what, file, line):
    assert senders.entry("block", what) == (file, line)


@pytest.mark.parametrize(
    ("action", "what", "said"),
    [
        ("block", "a b@example.com", "'a b@example.com' is no address: before the @ there are characters that none has without quotation "
         "marks"),
        ("block", "#a@example.com", "'#a@example.com' is no address: before the @ there are characters that none has without quotation "
         "marks"),
        ("block", "a@exa\nmple.com", "'a@exa?mple.com' is neither an address, nor a domain, nor a network"),
        ("block", "", "'' is neither an address, nor a domain, nor a network"),
        ("block", "198.51.100.1/24", "'198.51.100.1/24' is no network: has it bits behind its prefix?"),
        ("block", "0.0.0.0/0", "0.0.0.0/0 is all the world"),
        ("allow", "198.51.100.0/24", "198.51.100.0/24 is a network: mail_filter.trusted of the inventory is for those"),
        ("allow", "com", "'com' is neither an address, nor a domain"),
        ("allow", "a@" + "x" * 64 + ".com", "is neither an address, nor a domain"),
    ],
)  # fmt: skip
def test_what_is_no_sender(action, what, said):
    with pytest.raises(Failure) as found:
        senders.entry(action, what)
    assert str(found.value).endswith(said)


@pytest.fixture
def host(tmp_path):
    found = Host()
    given = {"senders": str(tmp_path / "senders"), "inventory_senders": str(tmp_path / "postmaster-mail-{}.map")}
    found.settings = found.settings.__class__(**{**found.settings.__dict__, **given})
    (tmp_path / "postmaster-mail-allowed.map").write_text("# Ansible managed\n@partner.example\n")
    (tmp_path / "postmaster-mail-blocked.map").write_text("# Ansible managed\nfoe@example.com\n")
    found.place = tmp_path / "senders"
    return found


def run(host, *arguments):
    options = cli._parsed(arguments)
    return options.function(host, options)


def test_a_sender_is_allowed_and_not_any_more(host):
    assert run(host, "allow", "friend@example.com").lines == ["friend@example.com is allowed, where SPF or DKIM passes for it"]
    assert (host.place / "allowed").read_text().splitlines()[1:] == ["friend@example.com"]
    run(host, "allow", "friend@example.com")
    assert run(host, "allow", "friend@example.com", "--remove").lines == ["friend@example.com is allowed no more"]
    assert host.notes == ["allow: friend@example.com", "allow: friend@example.com no more"]
    answer = run(host, "allow", "friend@example.com", "--remove")
    assert (answer.lines, answer.status) == (["friend@example.com was not allowed"], 1)


def test_lists_of_both(host):
    for one in ("spam.example", "192.0.2.0/24", "foe@example.com"):
        assert run(host, "block", one).lines == [f"{one} is blocked"]
    answer = run(host, "block")
    assert [" ".join(line.split()) for line in answer.lines[1:]] == [
        "192.0.2.0/24 command", "spam.example command", "foe@example.com command inventory"]  # fmt: skip
    assert answer.public == {"command": ["192.0.2.0/24", "@spam.example", "foe@example.com"], "inventory": ["foe@example.com"]}
    assert (host.place / "blocked-networks").read_text().splitlines()[1:] == ["192.0.2.0/24"]


def test_what_the_inventory_says_stays(host):
    answer = run(host, "block", "foe@example.com", "--remove")
    assert answer.lines == ["foe@example.com is blocked by the inventory (mail_filter.block): take it out there, and run the playbook"]
    assert answer.status == 1
    assert run(host, "allow", "foe@example.com").lines[1] == "It is blocked as well, and that counts: postmaster-mail block --remove"
    with pytest.raises(Failure, match="allow --remove: of which sender"):
        run(host, "allow", "--remove")


def test_an_empty_list(host):
    (host.place.parent / "postmaster-mail-blocked.map").unlink()
    assert run(host, "block").lines == ["The list of senders to block is empty"]
