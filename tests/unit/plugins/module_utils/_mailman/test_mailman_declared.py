# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a declared list is in Mailman 3."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._mailman import declared
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rules import profile
from ansible_collections.postmaster.mail.plugins.module_utils._model import lists

OPTIONS = {"owners": ["me@example.org"], "style": "discussion", "posts": "members", "description": "", "commands": [],
           "archive": None}  # fmt: skip


def settings(current=(), unenforced=False, **options):
    return declared.settings({**OPTIONS, **options}, ["b.example", "example.org"], unenforced, dict.fromkeys(current))


def test_each_style_and_choice_of_the_inventory_is_known():
    assert set(declared.STYLES) == set(lists.STYLES)
    for posts in lists.POSTS:
        settings(posts=posts)


def test_a_list_is_hardened_as_any():
    quiet = profile("quiet", 3, {})
    assert {name: value for name, value in settings().items() if name in quiet} == quiet


@pytest.mark.parametrize(
    ("posts", "members", "others", "header"),
    [("members", "defer", "hold", True), ("owners", "hold", "hold", False), ("anyone", "defer", "defer", True)],
)
def test_who_may_post(posts, members, others, header):
    found = settings(posts=posts)
    assert (found["default_member_action"], found["default_nonmember_action"], found["allow_list_posts"]) == (members, others, header)


def test_owners_may_post():
    assert settings(posts="owners")["accept_these_nonmembers"] == ["me@example.org"]


def test_commands_that_are_taken_are_answered():
    assert settings(commands=["leave"])["autorespond_requests"] == "none"
    assert settings()["autorespond_requests"] == "respond_and_discard"


def test_a_description_that_is_not_said_stays():
    assert "description" not in settings()
    assert settings(description="News")["description"] == "News"


def test_a_private_list_is_not_advertised():
    assert (settings()["advertised"], settings(style="private")["advertised"]) == (True, False)


@pytest.mark.parametrize("policy", lists.ARCHIVES)
def test_who_reads_the_archive(policy):
    assert "archive_policy" not in settings()
    assert settings(archive=policy)["archive_policy"] == policy


def test_authors_of_this_host_are_rewritten():
    found = settings(["dmarc_addresses"], unenforced=True)
    assert found["dmarc_addresses"] == [r"^.*@b\.example$", r"^.*@example\.org$"]
    assert found["dmarc_mitigate_unconditionally"] is False


def test_before_mailman_3_3_10_all_are_where_dmarc_does_not_say_so():
    assert "dmarc_addresses" not in settings()
    assert settings()["dmarc_mitigate_unconditionally"] is False
    assert settings(unenforced=True)["dmarc_mitigate_unconditionally"] is True


def test_addresses_are_added_to_those_that_somebody_has_set():
    wanted = {"dmarc_addresses": ["^b$", "^c$"], "advertised": True}
    assert declared.differences(wanted, {"dmarc_addresses": ["^a$", "^b$"], "advertised": False}) == {
        "dmarc_addresses": (["^a$", "^b$"], ["^a$", "^b$", "^c$"]), "advertised": (False, True),
    }  # fmt: skip
    assert declared.differences(wanted, {"dmarc_addresses": ["^a$", "^c$", "^b$"], "advertised": True}) == {}


def test_who_is_missing():
    assert declared.missing(["b@example.org", "a@example.org"], ["A@example.org"]) == ["b@example.org"]


def test_what_is_marked_as_spam_waits():
    assert declared.holds_spam([{"header": "X-Spam", "pattern": "^yes", "action": "discard", "position": 0}])
    assert not declared.holds_spam([{"header": "x-spam-score", "pattern": "^yes"}])
