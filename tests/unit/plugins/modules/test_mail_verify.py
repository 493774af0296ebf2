# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of checks and its module: what passes, fails and is skipped, and what a report shows."""

from __future__ import annotations

import html.parser
import socket

import pytest
from dkim_runner import Runner

from ansible_collections.postmaster.mail.plugins.module_utils._checks import checks, report, runner
from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckFailed, CheckRegistry, CheckResult, CheckSkipped
from ansible_collections.postmaster.mail.plugins.module_utils._checks.session import Server


def server(**given):
    return Server(**{"fqdn": "mail.example.org", "addresses": {"ipv4": ["198.51.100.25"], "ipv6": []}, "domains": ["example.org"], **given})


@pytest.fixture
def registry():
    registry = CheckRegistry()

    @registry.check("kept")
    def kept(_server):
        """It is
        kept."""
        return 250

    @registry.check("broken")
    def broken(_server):
        """It is broken."""
        raise CheckFailed("answered with 250 <relay@x> & more")

    @registry.check("error")
    def error(_server):
        """The server is away."""
        raise ConnectionRefusedError(111, "Connection refused")

    @registry.check("assertion")
    def assertion(_server):
        """A plain assertion."""
        raise AssertionError("two messages")

    @registry.check("account")
    def account(given):
        """It needs an account."""
        return given.account()[0]

    return registry


def test_every_result(registry):
    reported = []
    results = registry.run(server(), report=reported.append)
    assert reported == results
    assert [(result.check, result.description, result.status, result.evidence) for result in results] == [
        ("kept", "It is kept.", "pass", "250"),
        ("broken", "It is broken.", "fail", "answered with 250 <relay@x> & more"),
        ("error", "The server is away.", "fail", "ConnectionRefusedError: [Errno 111] Connection refused"),
        ("assertion", "A plain assertion.", "fail", "two messages"),
        ("account", "It needs an account.", "skipped", "needs 1 account with a password to test with"),
    ]
    assert runner.summary(results) == {"pass": 1, "warn": 0, "fail": 3, "unknown": 0, "skipped": 1, "unsupported": 0}
    assert all(0 <= result.seconds < 5 for result in results)


def test_only_some(registry):
    assert [result.check for result in registry.run(server(), ["account", "kept"])] == ["kept", "account"]


@pytest.mark.parametrize(("by_chance", "status", "evidence"), [
    ((), "fail", "listed as unsupported, but passed: 250"),
    (("kept",), "unsupported", "Too slow here. Tried: 250"),
])
def test_what_is_listed_as_unsupported_is_tried(registry, by_chance, status, evidence):
    reasons = {"kept": "Too slow here.", "broken": "Nobody can."}
    kept, broken = registry.run(server(), ["kept", "broken"], unsupported=reasons, by_chance=by_chance)
    assert (kept.status, kept.evidence) == (status, evidence)
    assert (broken.status, broken.evidence) == ("unsupported", "Nobody can. Tried: answered with 250 <relay@x> & more")


def test_an_interrupt_is_no_failed_check():
    registry = CheckRegistry()

    @registry.check("x")
    def interrupted(_server):
        """x"""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.run(server())


def test_a_name_is_given_once(registry):
    with pytest.raises(ValueError, match="check 'kept' is registered twice"):
        registry.check("kept")(lambda _server: "")


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda given: given.account(1), "needs 2 accounts with a password to test with"),
        (lambda given: given.address("ipv6"), "the server has no ipv6 address"),
    ],
)
def test_what_cannot_be_asked(ask, text):
    with pytest.raises(CheckSkipped) as caught:
        ask(server(accounts=[("me@example.org", "x")]))
    assert str(caught.value) == text


def test_every_check_has_a_sentence_and_a_name():
    for check in checks.registry.checks:
        assert check.description.endswith("."), check.name
        assert check.name == check.name.lower().replace(" ", "-").replace("_", "-")


class Page(html.parser.HTMLParser):
    """Reads a page as a browser would: the tags that it sees, and the text of each row."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_what_a_server_says_is_text_in_the_report():
    evil = """<script>alert("x")</script> & 'y' </td></table>"""
    page = report.page(f"The promises of {evil}", [
        CheckResult("a", f"It is {evil}.", "pass", f"250 {evil}", 0.25),
        CheckResult("b", "It is not.", "skipped", "needs it", 0.0),
        CheckResult("c", "It is broken.", "fail", evil, 1.0),
    ])
    seen = Page(page)
    assert "script" not in seen.tags
    assert [[cell.strip() for cell in row] for row in seen.rows[1:]] == [
        ["It is broken.", "fail", evil, "1.0 s"],
        [f"It is {evil}.", "pass", f"250 {evil}", "0.2 s"],
        ["It is not.", "skipped", "needs it", "0.0 s"],
    ]
    assert "1 pass, 1 fail, 1 skipped" in page
    assert "<title>The promises of &lt;script&gt;" in page


# The module: nothing listens where it looks.


@pytest.fixture(scope="module")
def module():
    run = Runner()
    return lambda **arguments: run("mail_verify", arguments)


GIVEN = {"fqdn": "mail.example.org", "addresses": ["127.0.0.1", "::1"], "domains": ["example.org"]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"only": ["greeting", "unheard-of"]},
         f"only 'unheard-of' is not a check; they are {', '.join(check.name for check in checks.registry.checks)}"),
        ({"addresses": ["127.0.0.300"]}, "addresses '127.0.0.300' is not an IPv4 or IPv6 address"),
        ({"fqdn": "mail..org"}, "fqdn 'mail..org' has a bad label '': letters, digits and inner hyphens only (RFC 1123 section 2.1)"),
        ({"domains": ["exa mple.org"]},
         "domains 'exa mple.org' has a bad label 'exa mple': letters, digits and inner hyphens only (RFC 1123 section 2.1)"),
    ],
)
def test_what_the_module_refuses(module, change, text):
    failed = module(**{**GIVEN, **change})
    assert failed["failed"] is True
    assert failed["msg"] == text


@pytest.mark.skipif(socket.socket().connect_ex(("127.0.0.1", 25)) == 0, reason="a mail server runs on this machine")
def test_a_server_that_is_away_fails_checks_and_the_module_tells_all(module, tmp_path):
    report = tmp_path / "report.html"
    done = module(**GIVEN, only=["greeting", "no-auth-on-25"], report=str(report), accounts={"me@example.org": "top-secret"})
    assert (done.get("failed", False), done["changed"]) == (False, False)
    assert done["summary"] == {"pass": 0, "warn": 0, "fail": 2, "unknown": 0, "skipped": 0, "unsupported": 0}
    assert [check["check"] for check in done["checks"]] == ["greeting", "no-auth-on-25"]
    for check in done["checks"]:
        assert check["status"] == "fail"
        assert "refused" in check["evidence"]
    assert "Connection refused" in report.read_text()
    assert "top-secret" not in done.text + report.read_text()
