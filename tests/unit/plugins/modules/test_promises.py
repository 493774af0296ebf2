# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of the promises and its module: what counts as kept, broken and not asked, and what a report shows."""

from __future__ import annotations

import html.parser
import socket

import pytest
from dkim_runner import Runner

from ansible_collections.postmaster.mail.plugins.module_utils import _promise, _promises
from ansible_collections.postmaster.mail.plugins.module_utils._promise import Book, Broken, NotAsked, Outcome, Server


def server(**given):
    return Server(**{"fqdn": "mail.example.org", "addresses": {"ipv4": ["198.51.100.25"], "ipv6": []}, "domains": ["example.org"], **given})


@pytest.fixture
def book():
    book = Book()

    @book.promise("kept")
    def kept(_server):
        """It is
        kept."""
        return 250

    @book.promise("broken")
    def broken(_server):
        """It is broken."""
        raise Broken("answered with 250 <relay@x> & more")

    @book.promise("error")
    def error(_server):
        """The server is away."""
        raise ConnectionRefusedError(111, "Connection refused")

    @book.promise("assertion")
    def assertion(_server):
        """A plain assertion."""
        raise AssertionError("two messages")

    @book.promise("account")
    def account(given):
        """It needs an account."""
        return given.account()[0]

    return book


def test_every_outcome(book):
    told = []
    outcomes = book.run(server(), told=told.append)
    assert told == outcomes
    assert [(outcome.name, outcome.text, outcome.status, outcome.evidence) for outcome in outcomes] == [
        ("kept", "It is kept.", "kept", "250"),
        ("broken", "It is broken.", "broken", "answered with 250 <relay@x> & more"),
        ("error", "The server is away.", "broken", "ConnectionRefusedError: [Errno 111] Connection refused"),
        ("assertion", "A plain assertion.", "broken", "two messages"),
        ("account", "It needs an account.", "not asked", "needs 1 account with a password to test with"),
    ]
    assert _promise.summary(outcomes) == {"kept": 1, "broken": 3, "not asked": 1}
    assert all(0 <= outcome.seconds < 5 for outcome in outcomes)


def test_only_some(book):
    assert [outcome.name for outcome in book.run(server(), ["account", "kept"])] == ["kept", "account"]


@pytest.mark.parametrize(("by_chance", "status", "evidence"), [
    ((), "broken", "listed as impossible, but kept: 250"),
    (("kept",), "cannot", "Too slow here. Tried: 250"),
])
def test_what_is_listed_as_impossible_is_tried(book, by_chance, status, evidence):
    reasons = {"kept": "Too slow here.", "broken": "Nobody can."}
    kept, broken = book.run(server(), ["kept", "broken"], cannot=reasons, by_chance=by_chance)
    assert (kept.status, kept.evidence) == (status, evidence)
    assert (broken.status, broken.evidence) == ("cannot", "Nobody can. Tried: answered with 250 <relay@x> & more")


def test_an_interrupt_is_no_broken_promise():
    book = Book()

    @book.promise("x")
    def interrupted(_server):
        """x"""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.run(server())


def test_a_name_is_given_once(book):
    with pytest.raises(ValueError, match="promise 'kept' is made twice"):
        book.promise("kept")(lambda _server: "")


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda given: given.account(1), "needs 2 accounts with a password to test with"),
        (lambda given: given.address("ipv6"), "the server has no ipv6 address"),
    ],
)
def test_what_cannot_be_asked(ask, text):
    with pytest.raises(NotAsked) as caught:
        ask(server(accounts=[("me@example.org", "x")]))
    assert str(caught.value) == text


def test_every_promise_has_a_sentence_and_a_name():
    for promise in _promises.book.promises:
        assert promise.text.endswith("."), promise.name
        assert promise.name == promise.name.lower().replace(" ", "-").replace("_", "-")


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
    page = _promise.page(f"The promises of {evil}", [
        Outcome("a", f"It is {evil}.", "kept", f"250 {evil}", 0.25),
        Outcome("b", "It is not.", "not asked", "needs it", 0.0),
        Outcome("c", "It is broken.", "broken", evil, 1.0),
    ])
    seen = Page(page)
    assert "script" not in seen.tags
    assert [[cell.strip() for cell in row] for row in seen.rows[1:]] == [
        ["It is broken.", "broken", evil, "1.0 s"],
        [f"It is {evil}.", "kept", f"250 {evil}", "0.2 s"],
        ["It is not.", "not asked", "needs it", "0.0 s"],
    ]
    assert "1 kept, 1 broken, 1 not asked" in page
    assert "<title>The promises of &lt;script&gt;" in page


# The module: nothing listens where it looks.


@pytest.fixture(scope="module")
def module():
    run = Runner()
    return lambda **arguments: run("promises", arguments)


GIVEN = {"fqdn": "mail.example.org", "addresses": ["127.0.0.1", "::1"], "domains": ["example.org"]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"only": ["greeting", "unheard-of"]},
         f"only 'unheard-of' is not a promise; they are {', '.join(promise.name for promise in _promises.book.promises)}"),
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
def test_a_server_that_is_away_breaks_promises_and_the_module_tells_all(module, tmp_path):
    report = tmp_path / "report.html"
    done = module(**GIVEN, only=["greeting", "no-auth-on-25"], report=str(report), accounts={"me@example.org": "top-secret"})
    assert (done.get("failed", False), done["changed"]) == (False, False)
    assert done["summary"] == {"kept": 0, "broken": 2, "not_asked": 0}
    assert [promise["name"] for promise in done["promises"]] == ["greeting", "no-auth-on-25"]
    for promise in done["promises"]:
        assert promise["status"] == "broken"
        assert "refused" in promise["evidence"]
    assert "Connection refused" in report.read_text()
    assert "top-secret" not in done.text + report.read_text()
