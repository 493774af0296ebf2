# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declared lists, without a Mailman; tests/integration/targets/mailman has a real one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rest import Mailman3
from ansible_collections.postmaster.mail.plugins.modules import mailman_lists

NEWS = "news@example.org"
OPTIONS = {"owners": ["me@example.org", "you@example.org"], "style": "announce", "posts": "owners", "description": "News", "commands": [],
           "archive": None}  # fmt: skip


class Mailman(Mailman3):
    """Answers what the module asks; ``writes`` are the paths of what it changed."""

    def __init__(self, refuses=""):
        super().__init__("http://localhost:8001", "u", "p")
        self.refuses, self.writes = refuses, []
        self.domains, self.known, self.matches = [], [], []
        self.roster = {"owner": [], "member": {"you@example.org": None}}
        self.config = {"description": "", "default_member_action": "defer", "accept_these_nonmembers": ["old@example.org"]}
        self.lists()

    def _ask(self, method, path, data=None):
        if method == "GET":
            return self.answer(path)
        if self.refuses and path.endswith(self.refuses):
            raise MailError("Mailman refused it")
        self.writes.append(path)
        if path == "domains":
            self.domains.append(data["mail_host"])
        elif path == "lists":
            self.known.append(data)
        elif path == "members":
            self.roster[data["role"]].append(data["subscriber"])
        elif path.startswith("members/"):
            self.roster["member"][path.partition("/")[2]] = data["moderation_action"]
        elif path.endswith("header-matches"):
            self.matches.append(data)
        else:
            self.config.update(data)
        return None

    def answer(self, path):
        part = path.rpartition("/")[2]
        if path == "domains":
            return {"entries": [{"mail_host": name} for name in self.domains]}
        if path == "lists":
            split = [entry["fqdn_listname"].split("@") for entry in self.known]
            return {"entries": [{"list_name": name, "mail_host": host, "list_id": f"{name}.{host}"} for name, host in split]}
        if path.endswith("roster/owner"):
            return {"entries": [{"email": owner} for owner in self.roster["owner"]]}
        if "/member/" in path:
            if part not in self.roster["member"]:
                raise MailError("Mailman refused GET: 404 Not Found (404)")
            return {"member_id": part, "moderation_action": self.roster["member"][part]}
        return {"entries": self.matches} if part == "header-matches" else dict(self.config)


def run(mailman, check=False, **options):
    params = {"lists": {NEWS: {**OPTIONS, **options}}, "domains": ["example.org"], "unenforced": False}
    module = SimpleNamespace(check_mode=check, params=params)
    done = {}
    mailman_lists.of_list(module, mailman, NEWS, done)
    return done


def test_a_list_is_made_with_all_that_is_declared():
    mailman = Mailman()
    done = run(mailman)
    assert (done["created"], done["owners"], done["posters"], done["holds_spam"]) == (True, OPTIONS["owners"], ["you@example.org"], True)
    assert done["changes"]["accept_these_nonmembers"] == {
        "before": ["old@example.org"], "after": ["old@example.org", "me@example.org", "you@example.org"]}  # fmt: skip
    assert mailman.known == [{"fqdn_listname": NEWS, "style_name": "legacy-announce"}]
    assert mailman.domains == ["example.org"]
    assert not mailman_lists.changed(run(mailman))


def test_check_mode_changes_nothing():
    mailman = Mailman()
    done = run(mailman, check=True)
    assert (done["created"], done["owners"], done["changes"], mailman.writes) == (True, OPTIONS["owners"], {}, [])
    run(mailman)
    mailman.writes.clear()
    done = run(mailman, check=True, description="Other", owners=["third@example.org"])
    assert done["changes"]["description"] == {"before": "News", "after": "Other"}
    assert (done["owners"], mailman.writes) == (["third@example.org"], [])


def test_owners_of_before_stay():
    mailman = Mailman()
    run(mailman)
    assert run(mailman, owners=["third@example.org"])["owners"] == ["third@example.org"]
    assert mailman.roster["owner"] == ["me@example.org", "you@example.org", "third@example.org"]


def test_another_error_than_that_of_no_member_is_one():
    mailman = Mailman()
    run(mailman)
    mailman.answer = lambda path: (_ for _ in ()).throw(MailError("no (500)"))
    with pytest.raises(MailError, match=r"no \(500\)"):
        mailman.moderated(mailman.find(NEWS), "me@example.org")


@pytest.mark.parametrize(("refuses", "made"), [("lists", {"created": False}), ("members", {"created": True, "owners": []}),
                                               ("config", {"created": True, "holds_spam": True, "changes": {}})])  # fmt: skip
def test_after_an_error_it_is_known_what_was_made(refuses, made):
    module = SimpleNamespace(check_mode=False, params={"lists": {NEWS: OPTIONS}, "domains": [], "unenforced": False})
    done = {}
    with pytest.raises(MailError, match="refused it"):
        mailman_lists.of_list(module, Mailman(refuses), NEWS, done)
    assert {name: done[name] for name in made} == made


def test_the_diff_has_what_differs():
    done = {"address": NEWS, "created": False, "owners": ["me@example.org"], "posters": [], "holds_spam": False,
            "changes": {"description": {"before": "", "after": "News"}}}  # fmt: skip
    assert mailman_lists.shown(done) == {
        "before_header": NEWS, "after_header": NEWS, "before": 'description: ""\n',
        "after": 'description: "News"\nowners added: ["me@example.org"]\n',
    }  # fmt: skip
