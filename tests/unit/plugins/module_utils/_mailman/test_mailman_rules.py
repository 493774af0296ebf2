# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import subprocess
import types

import pytest
import yaml

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import rules as mailman
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rules import MailingList
from ansible_collections.postmaster.mail.plugins.modules import mailman_harden


def refusal(function, *arguments):
    with pytest.raises(MailError) as error:
        function(*arguments)
    return str(error.value)


# ---- profile

def test_single_settings_override_the_profile_and_null_leaves_one_alone():
    found = mailman.profile("quiet", 3, {"max_days_to_hold": 7, "admin_immed_notify": None, "advertised": False})
    assert found["max_days_to_hold"] == 7
    assert "admin_immed_notify" not in found
    assert found["advertised"] is False
    assert found["respond_to_post_requests"] is False


@pytest.mark.parametrize(("version", "action"), [(2, {"generic_nonmember_action": 3}), (3, {"default_nonmember_action": "discard"})])
def test_the_closed_profile_discards_and_bans(version, action):
    quiet, closed = (mailman.profile(name, version, {}) for name in ("quiet", "closed"))
    assert closed == {**quiet, **action, "ban_list": ["^.*$"]}
    assert mailman.profile("none", version, {"x": 1}) == {"x": 1}


@pytest.mark.parametrize("version", [2, 3])
def test_bans_add_to_those_of_the_profile(version):
    def bans(name, value):
        return mailman.profile(name, version, {"ban_list": value}).get("ban_list")

    assert bans("closed", ["x@spam.test"]) == ["x@spam.test", "^.*$"]
    assert bans("quiet", ["x@spam.test"]) == ["x@spam.test"]
    assert bans("closed", None) is None
    assert bans("closed", "x@spam.test") == "x@spam.test"  # refused as no list when it is compared


def test_an_unknown_profile():
    assert refusal(mailman.profile, "loud", 3, {}) == "profile 'loud' is unknown; known are: quiet, closed, none"


@pytest.mark.parametrize(("version", "name"), [(3, "Mailman 3"), (2, "Mailman 2.1")])
def test_the_documentation_lists_the_profile(version, name):
    notes = yaml.safe_load(mailman_harden.DOCUMENTATION)["notes"]
    note = next(note for note in notes if note.startswith(f"The profile V(quiet) in {name} - "))

    def written(value):
        return str(value).lower() if isinstance(value, bool) else str(value)

    assert re.findall(r"C\((.+?)\)", note) == [f"{key}={written(value)}" for key, value in mailman.profile("quiet", version, {}).items()]


# ---- coercion

@pytest.mark.parametrize(
    ("value", "current", "expected"),
    [
        (True, False, True), ("yes", False, True), ("False", True, False), (0, True, False),
        (5, 3, 5), ("5", 3, 5), (True, 3, 1),
        ("hold", "discard", "hold"), ("7d", "7d", "7d"), ("1w", "7d", "7d"), ("168h", "7d", "7d"), ("8d", "7d", "8d"),
        ("1d12h", "36h", "36h"),
        (["a@b.test"], [], ["a@b.test"]), ("text", "", "text"), (7, "", "7"),
        (50, 30.0, 50.0), ("50", 30.0, 50.0), (0.5, 30.0, 0.5),
    ],
)  # fmt: skip
def test_coercion_for_mailman_3(value, current, expected):
    found = mailman.coerce3("x", value, current)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "current", "message"),
    [
        ("maybe", True, "settings x 'maybe' must be true or false"),
        ("many", 3, "settings x 'many' must be a whole number"),
        (2.5, 3, "settings x 2.5 must be a whole number"),
        ("many", 3.0, "settings x 'many' must be a number"),
        (True, 3.0, "settings x True must be a number"),
        ("nan", 3.0, "settings x 'nan' must be a number that a computer can count to"),
        ("a", [], "settings x 'a' must be a list of strings"),
        ([1], [], "settings x [1] must be a list of strings"),
        ({"a": 1}, "", "settings x {'a': 1} must be one value, not a dict"),
    ],
)
def test_bad_values_for_mailman_3(value, current, message):
    assert refusal(mailman.coerce3, "x", value, current) == message


@pytest.mark.parametrize(
    ("name", "value", "current", "expected"),
    [
        ("respond_to_post_requests", False, 1, 0), ("respond_to_post_requests", "yes", 0, 1), ("respond_to_post_requests", "1", 0, 1),
        ("generic_nonmember_action", "discard", 1, 3), ("generic_nonmember_action", 3, 1, 3), ("generic_nonmember_action", "2", 1, 2),
        ("autorespond_requests", "respond_and_discard", 0, 1),
        ("subscribe_policy", "confirm_then_moderate", 1, 3), ("dmarc_moderation_action", "munge_from", 0, 1),
        ("max_days_to_hold", 30, 0, 30), ("max_days_to_hold", "30", 0, 30), ("bounce_score_threshold", 2.5, 5.0, 2.5),
        ("bounce_score_threshold", "4.0", 5.0, 4), ("unheard_of_number", 7, 3, 7),
        ("ban_list", ["^.*@spam\\.test$", "a@b.test"], [], ["^.*@spam\\.test$", "a@b.test"]),
        ("accept_these_nonmembers", ["@other"], [], ["@other"]),
        ("subject_prefix", "[x] ", "", "[x] "),
    ],
)  # fmt: skip
def test_coercion_for_mailman_2(name, value, current, expected):
    found = mailman.coerce2(name, value, current)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "current", "message"),
    [
        ("generic_nonmember_action", "drop", 1,
         "settings generic_nonmember_action 'drop' is no choice of Mailman 2.1; it knows 0 (accept), 1 (hold), 2 (reject), 3 (discard)"),
        ("generic_nonmember_action", 4, 1,
         "settings generic_nonmember_action 4 is no choice of Mailman 2.1; it knows 0 (accept), 1 (hold), 2 (reject), 3 (discard)"),
        ("respond_to_post_requests", "maybe", 1, "settings respond_to_post_requests 'maybe' must be true or false"),
        ("max_days_to_hold", -1, 0, "settings max_days_to_hold -1 is negative: Mailman 2.1 would keep the old value and say nothing"),
        ("max_days_to_hold", "soon", 0, "settings max_days_to_hold 'soon' must be a number"),
        ("max_days_to_hold", "nan", 0, "settings max_days_to_hold 'nan' must be a number that a computer can count to"),
        ("max_days_to_hold", float("inf"), 0, "settings max_days_to_hold inf must be a number that a computer can count to"),
        ("max_days_to_hold", "9" * 400, 0, f"settings max_days_to_hold '{'9' * 297}...' must be a number that a computer can count to"),
        ("max_days_to_hold", "²", 0, "settings max_days_to_hold '²' must be a number"),
        ("generic_nonmember_action", "²", 1,
         "settings generic_nonmember_action '²' is no choice of Mailman 2.1; it knows 0 (accept), 1 (hold), 2 (reject), 3 (discard)"),
        ("owner", "me@example.org", [], "settings owner 'me@example.org' must be a list of strings"),
        ("owner", ["^.*$"], [], "settings owner '^.*$' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
        ("discard_these_nonmembers", ["^("], [],
         "settings discard_these_nonmembers '^(' is not a regular expression: missing ), unterminated subpattern at position 1"),
        ("subject_prefix", ["a"], "", "settings subject_prefix ['a'] must be one value, not a list"),
    ],
)  # fmt: skip
def test_values_that_mailman_2_would_misread(name, value, current, message):
    assert refusal(mailman.coerce2, name, value, current) == message


# ---- differences

def test_only_differences_count_and_bans_are_added():
    current = {"a": 1, "b": True, "ban_list": ["x@spam.test"]}
    wanted = {"a": "1", "b": "no", "ban_list": ["^.*$", "x@spam.test", "^.*$"], "of_another_release": 1}
    assert mailman.changes(wanted, current, mailman.coerce3) == {
        "b": (True, False),
        "ban_list": (["x@spam.test"], ["x@spam.test", "^.*$"]),
    }
    assert mailman.changes({"ban_list": ["x@spam.test"]}, current, mailman.coerce3) == {}


@pytest.mark.parametrize(
    ("entry", "bans", "expected"),
    [
        ("x@spam.test", ["x@spam.test"], True),
        ("x@spam.test", ["X@spam.test"], False),
        ("x@spam.test", ["^X@SPAM[.]"], True),  # from the start, not to the end, whatever the case
        ("x@spam.test", ["^spam"], False),
        ("x@spam.test", [".*"], False),  # no pattern without its ^
        ("^.*@spam[.]test$", ["^.*$"], True),
        ("^.*$", ["^.*@spam[.]test$", "x@spam.test"], False),
        ("x@spam.test", ["^(", "x@spam.test"], True),
        ("x@spam.test", [], False),
    ],
)
def test_what_mailman_3_holds_for_banned(entry, bans, expected):
    assert mailman.banned(entry, bans) is expected


def test_a_ban_that_an_earlier_one_covers_is_not_added():
    wanted = {"ban_list": ["y@spam.test", "^.*$", "x@spam.test"]}
    found = mailman.changes(wanted, {"ban_list": []}, mailman.coerce3, (), mailman.banned)
    assert found == {"ban_list": ([], ["y@spam.test", "^.*$"])}


def test_a_setting_that_the_user_named_must_exist():
    message = "settings 'reply_with_insults' is not a setting of this Mailman's lists"
    assert refusal(mailman.changes, {"reply_with_insults": 1}, {"a": 1}, mailman.coerce3, ["reply_with_insults"]) == message


def test_bad_bans():
    message = "settings ban_list 'someone' is not an address of the form user@domain (RFC 5321 section 4.1.2)"
    assert refusal(mailman.changes, {"ban_list": ["someone"]}, {"ban_list": []}, mailman.coerce3) == message


# ---- config_list's language

DUMP = b'''# -*- python -*-
# -*- coding: iso-8859-1 -*-
## "test" mailing list configuration settings
## captured on Sun Nov 22 08:00:00 2026

## General options
#
# Fundamental list characteristics.

# The public name of this list.
real_name = 'Test'

owner = ['me@example.org', 'you@example.org']
description = "Caf\xe9 \\"Test\\""
info = """First line
ban_list = ['not an assignment']
# not a comment
last \\"line\\" with \\d and \xe9"""
empty = ''
#
# legal values are:
#    0 = "No"
#    1 = "Yes"
respond_to_post_requests = 1
advertised = True
bounce_score_threshold = 5.0
max_message_size = 40L
umlaut = '\\xe4'
topics = [('a', '.*', 'x', 0)]
nothing = None
header_filter_rules = []
'''


def test_what_config_list_prints_is_read():
    assert mailman.parse_config(DUMP) == {
        "real_name": "Test",
        "owner": ["me@example.org", "you@example.org"],
        "description": 'Café "Test"',
        "info": "First line\nban_list = ['not an assignment']\n# not a comment\nlast \"line\" with \\d and é",
        "empty": "",
        "respond_to_post_requests": 1,
        "advertised": True,
        "bounce_score_threshold": 5.0,
        "max_message_size": 40,
        "umlaut": "ä",
        "topics": [("a", ".*", "x", 0)],
        "nothing": None,
        "header_filter_rules": [],
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"import os\n", "config_list printed a line that is neither a comment nor an assignment: 'import os'"),
        (b"Traceback (most recent call last):\n",
         "config_list printed a line that is neither a comment nor an assignment: 'Traceback (most recent call last):'"),
        (b"a = __import__('os').system('true')\n", "config_list printed no literal for a: \"__import__('os').system('true')\""),
        (b"a = " + b"-" * 20000 + b"1\n", f"config_list printed no literal for a: '{'-' * 80}'"),
        (b'a = """never\nends\n', "config_list printed no literal for a: '\"\"\"never'"),
    ],
)  # fmt: skip
def test_what_is_no_assignment_of_a_literal_is_refused(data, message):
    assert refusal(mailman.parse_config, data) == message


def test_what_is_written_is_read_back_the_same():
    values = {"a": 1, "b": "it's \"é\"\n", "c": ["^.*$", "x@y.test"], "d": 2.5, "e": ""}
    text = mailman.format_config(values, "iso-8859-1")
    assert text == "a = 1\nb = 'it\\'s \"\\xe9\"\\n'\nc = ['^.*$', 'x@y.test']\nd = 2.5\ne = ''\n"
    assert mailman.parse_config(b"# -*- coding: iso-8859-1 -*-\n" + text.encode()) == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mlist": 1}, "settings 'mlist' is not the name of a setting"),
        ({"a; import os": 1}, "settings 'a; import os' is not the name of a setting"),
        ({"__builtins__": 1}, "settings '__builtins__' is not the name of a setting"),
        ({"a": float("nan")}, "settings a nan must be a number, a string or a list of strings"),
        ({"a": {"b": 1}}, "settings a {'b': 1} must be a number, a string or a list of strings"),
        ({"a": "\u4e2d"}, "settings a '\u4e2d' cannot be written in the character set iso-8859-1 of the list"),
    ],
)
def test_nothing_but_names_and_literals_is_written(values, message):
    assert refusal(mailman.format_config, values, "iso-8859-1") == message


def test_character_sets():
    assert mailman.charset_of(DUMP) == "iso-8859-1"
    assert mailman.charset_of(b"# -*- coding: us-ascii -*-\n") == "utf-8"


# ---- command addresses

NEWS, TEST = MailingList("news", "lists.test"), MailingList("test", "lists.test")
REQUEST = MailingList("news-request", "lists.test")


@pytest.mark.parametrize(
    ("remove", "keep", "suffixes", "kept"),
    [
        (mailman.COMMANDS, [], mailman.COMMANDS, set()),
        (["join", "confirm"], [], ("confirm", "join"), set()),
        (mailman.COMMANDS, ["request", "leave"], ("join", "subscribe", "unsubscribe"), set()),
        (["join"], ["News-Join@lists.test"], ("join",), {"news-join@lists.test"}),
        ([], [], (), set()),
    ],
)
def test_which_addresses_go(remove, keep, suffixes, kept):
    assert mailman.commands(remove, keep) == mailman.Commands(suffixes, frozenset(kept))


def test_addresses_that_lists_do_not_have():
    names = "admin, bounces, confirm, join, leave, owner, request, subscribe, unsubscribe"
    assert refusal(mailman.commands, ["foo"], []) == f"remove_addresses 'foo' is no address of a list; lists have: {names}"
    assert refusal(mailman.commands, [], ["foo"]) == f"keep_addresses 'foo' is no address of a list; lists have: {names}"
    message = f"remove_addresses 'a-join@b.test' is no address of a list; lists have: {names}"
    assert refusal(mailman.commands, ["a-join@b.test"], []) == message


def test_bounces_owner_and_admin_stay_unless_named():
    refusals = mailman.refused([NEWS], [NEWS], mailman.commands(mailman.COMMANDS, []))
    assert mailman.refused_addresses(refusals) == [
        "news-join@lists.test", "news-leave@lists.test", "news-request@lists.test", "news-subscribe@lists.test",
        "news-unsubscribe@lists.test",
    ]  # fmt: skip


def test_a_list_whose_own_name_ends_like_a_command_is_safe():
    refusals = mailman.refused([NEWS, REQUEST], [NEWS, REQUEST, TEST], mailman.commands(["join", "request"], []))
    assert mailman.refused_addresses(refusals) == [
        "news-join@lists.test", "news-request-join@lists.test", "news-request-request@lists.test",
    ]  # fmt: skip
    # In another domain it is no obstacle.
    other = MailingList("news-request", "other.test")
    refusals = mailman.refused([NEWS], [NEWS, other], mailman.commands(["request"], []))
    assert mailman.refused_addresses(refusals) == ["news-request@lists.test"]


def test_an_address_can_be_kept():
    refusals = mailman.refused([NEWS, TEST], [NEWS, TEST], mailman.commands(["request"], ["news-request@lists.test"]))
    assert mailman.refused_addresses(refusals) == ["test-request@lists.test"]


def test_the_tables():
    odd = MailingList("c++.users_1", "lists.test")
    refusals = mailman.refused([TEST, odd], [TEST, odd], mailman.commands(["join", "request"], []))
    patterns = [r"^c\+\+\.users_1-(join|request)(\+[^@]*)?@lists\.test$", r"^test-(join|request)(\+[^@]*)?@lists\.test$"]
    assert mailman.opensmtpd_table(refusals) == "".join(f"{pattern}\n" for pattern in patterns)
    assert mailman.postfix_table(refusals, "No") == "".join(f"/{pattern}/ 550 5.7.1 No\n" for pattern in patterns)
    for address, matches in (
        ("test-join@lists.test", True), ("test-request+x=y@lists.test", True), ("c++.users_1-join@lists.test", True),
        ("test@lists.test", False), ("test-confirm+abc@lists.test", False), ("test-owner@lists.test", False),
        ("test-join@listsxtest", False),
        ("a-test-join@lists.test", False), ("test-join@lists.test.evil.test", False), ("test-joint@lists.test", False),
        ("ccc.users_1-join@lists.test", False),
    ):  # fmt: skip
        assert any(re.search(pattern, address) for pattern in patterns) is matches, address


def test_tables_that_refuse_nobody():
    assert (mailman.postfix_table([]), mailman.opensmtpd_table([])) == ("", "^$\n")


def test_a_slash_in_the_name_of_a_list_does_not_end_the_pattern():
    line = mailman.postfix_table([(MailingList("we/ird", "lists.test"), ("join",))], "No")
    assert line == "/^we\\/ird-(join)(\\+[^@]*)?@lists\\.test$/ 550 5.7.1 No\n"


@pytest.mark.parametrize("text", ["", "two\nlines", "schön", "costs $5", "x" * 401])
def test_refusal_texts(text):
    with pytest.raises(MailError, match="refusal_text"):
        mailman.postfix_table([(TEST, ("join",))], text)


VIRTUAL = """\
# This file is generated by Mailman, and is kept in sync with the binary hash
# file virtual-mailman.db.

# LOOP ADDRESSES START
mailman-loop@lists.test\tmailman-loop
# LOOP ADDRESSES END

# STANZA START: news
# CREATED: Sun Nov 22 08:00:00 2026
news@lists.test              news
news-admin@lists.test        news-admin
news-bounces@lists.test      news-bounces
news-confirm@lists.test      news-confirm
news-join@lists.test         news-join
news-leave@lists.test        news-leave
news-owner@lists.test        news-owner
news-request@lists.test      news-request
news-subscribe@lists.test    news-subscribe
news-unsubscribe@lists.test  news-unsubscribe
# STANZA END: news

# by hand
team-request@lists.test      me@example.org
test-join@lists.test         me@example.org
#test-leave@lists.test       test-leave
Test-Leave@lists.test        test-leave@localhost
test-subscribe@lists.test
    test-subscribe
lists.test                   anything
"""


def without(lists=("news", "test"), every=("news", "test"), remove=mailman.COMMANDS, keep=()):
    return mailman.virtual_without(VIRTUAL, list(lists), list(every), mailman.commands(list(remove), list(keep)))


def test_the_virtual_file_loses_command_addresses_and_nothing_else():
    text, gone = without()
    assert gone == [
        "news-join@lists.test", "news-leave@lists.test", "news-request@lists.test", "news-subscribe@lists.test",
        "news-unsubscribe@lists.test", "Test-Leave@lists.test", "test-subscribe@lists.test",
    ]  # fmt: skip
    doomed = [*([address] for address in gone), ["test-subscribe"]]
    assert text == "".join(line for line in VIRTUAL.splitlines(keepends=True) if line.split()[:1] not in doomed)
    again, nothing = mailman.virtual_without(text, ["news", "test"], ["news", "test"], mailman.commands(mailman.COMMANDS, []))
    assert (again, nothing) == (text, [])


def test_what_stays_in_the_virtual_file():
    assert without(keep=["request", "news-join@lists.test"])[1] == [
        "news-leave@lists.test", "news-subscribe@lists.test", "news-unsubscribe@lists.test", "Test-Leave@lists.test",
        "test-subscribe@lists.test",
    ]  # fmt: skip
    assert without(remove=["confirm", "bounces"])[1] == ["news-bounces@lists.test", "news-confirm@lists.test"]
    assert without(lists=["test"])[1] == ["Test-Leave@lists.test", "test-subscribe@lists.test"]
    assert "news-request@lists.test" not in without(every=["news", "test", "news-request"])[1]
    assert without(lists=[])[0] == VIRTUAL


def test_a_continued_line_goes_as_a_whole():
    wanted = mailman.commands(["join"], [])
    text = "news-join@lists.test\n news-join\nnews@lists.test news\n"
    assert mailman.virtual_without(text, ["news"], ["news"], wanted) == ("news@lists.test news\n", ["news-join@lists.test"])
    text = "news-join@lists.test news-join,\n  me@example.org\n"
    assert mailman.virtual_without(text, ["news"], ["news"], wanted) == (text, [])


@pytest.mark.parametrize("name", ["o'brien", "a`b", "a<b", "b>", "<x>", "`", "'", "a.b", "a+b", "a[b]", "a{b}", "a|b", "a^b$", "a/b",
    "a&b", "a~b", "a=b"])
def test_the_pattern_of_a_list_matches_it_alone(name):
    """As grep reads it, which has GNU's anchors behind backslashes, as Postfix and smtpd have them with the same library."""
    entry = types.SimpleNamespace(name=name, domain="lists.example.org")
    pattern = mailman._pattern_of(entry, ["join", "request"]).replace("\\/", "/")
    lines = [f"{name}-join@lists.example.org", f"{name}-request+x@lists.example.org", f"{name}x-join@lists.example.org",
        f"{name}-join@listsxexample.org"]
    found = subprocess.run(["grep", "-E", "-e", pattern], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == lines[:2] and not found.stderr
