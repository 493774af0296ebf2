# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mailman 3's REST API without a Mailman; tests/integration/targets/mailman has a real one."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rest import Mailman3
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rules import MailingList, banned

NEWS = MailingList("news", "lists.test")


class Mailman(Mailman3):
    """One list, and bans as mailman.rest.bans takes them; addresses in ``refused`` it does not like."""

    def __init__(self, bans=(), site_bans=(), refused=()):
        super().__init__("http://localhost:8001", "u", "p")
        self.config = {"info": "", "digest_size_threshold": 30.0, "moderator_password": "$6$hash"}
        self.bans, self.site, self.refused = list(bans), list(site_bans), refused
        self.lists()

    def _ask(self, method, path, data=None):
        if path == "lists":
            return {"entries": [{"list_name": "news", "mail_host": "lists.test", "list_id": "news.lists.test"}]}
        if method == "GET" and path.endswith("bans"):
            return {"entries": [{"email": ban} for ban in (self.site if path == "bans" else self.bans)]}
        if method == "POST":
            if data["email"] in self.refused or banned(data["email"], self.bans + self.site):
                raise MailError("refused")
            self.bans.append(data["email"])
        if method == "PATCH":
            self.config.update(data)
        return dict(self.config)


def run(mailman, settings, made=None):
    differences = mailman.differences(mailman.read(NEWS, "ban_list" in settings), settings, list(settings))
    mailman.apply(NEWS, differences, {} if made is None else made)
    return differences


@pytest.mark.parametrize(
    ("bans", "site_bans", "wanted", "added"),
    [
        (["^.*$"], [], ["x@spam.test"], []),
        ([], ["^.*$"], ["^.*$"], []),
        ([], ["x@spam.test"], ["x@spam.test", "y@spam.test"], ["y@spam.test"]),
        (["X@spam.test"], [], ["x@spam.test"], ["x@spam.test"]),
        ([], [], ["x@spam.test", "^.*$", "y@spam.test"], ["x@spam.test", "^.*$"]),
    ],
)
def test_a_ban_that_holds_already_is_not_asked_for(bans, site_bans, wanted, added):
    mailman = Mailman(bans, site_bans)
    expected = {"ban_list": (bans, bans + added)} if added else {}
    assert run(mailman, {"ban_list": wanted}) == expected
    assert mailman.bans == bans + added
    assert run(mailman, {"ban_list": wanted}) == {}


def test_numbers_with_a_fraction():
    mailman = Mailman()
    assert run(mailman, {"digest_size_threshold": "50"}) == {"digest_size_threshold": (30.0, 50.0)}
    assert run(mailman, {"digest_size_threshold": 50}) == {}


def test_after_an_error_it_is_known_what_was_made():
    made = {}
    with pytest.raises(MailError, match="refused"):
        run(Mailman(refused=["b|d@spam.test"]), {"info": "x", "ban_list": ["a@spam.test", "b|d@spam.test", "c@spam.test"]}, made)
    assert made == {"info": ("", "x"), "ban_list": ([], ["a@spam.test"])}


def test_a_password_is_refused_by_name_alone():
    with pytest.raises(MailError) as error:
        run(Mailman(), {"moderator_password": "sesame"})
    assert str(error.value) == "settings 'moderator_password' is a secret, which this module neither compares nor sets"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8001", "url 'localhost:8001' is not of the form http://host:port/3.1"),
        ("http://[::1", "url 'http://[::1' is not of the form http://host:port/3.1"),
        ("http://me:s3/cr@t@localhost:8001/3.1",
         "url of 'localhost:8001/3.1' must name no user; give user and password as options of their own"),
        ("me:s3cret@localhost:8001", "url of 'localhost:8001' must name no user; give user and password as options of their own"),
    ],
)  # fmt: skip
def test_urls_that_are_none(url, message):
    with pytest.raises(MailError) as error:
        Mailman3(url, "u", "p")
    assert str(error.value) == message
