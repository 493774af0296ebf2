# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that the role postfix installs where no package rewrites senders, also spoken to as Postfix does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from program import load

from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import SRS_DAYS
from ansible_collections.postmaster.mail.plugins.module_utils._services import postfix

PROGRAM = Path(__file__).resolve().parents[3] / "roles/postfix/files/srs.py"
DOMAIN, SECRET = "mail.example.org", b"correct-horse-battery"
NOW, DAY = 1795948852, 86400


SRS = load(PROGRAM)


def at(moment=NOW, secret=SECRET, shortest=postfix.HASH_LENGTH):
    return SRS.Srs(secret, DOMAIN, shortest, lambda: moment)


#: What PostSRSd 1.10 made of each, with this secret and on this day, with -A and -n 8, and read again.
FROM_POSTSRSD = {
    "Someone@BigMail.test": "SRS0=Z673rxeD=JS=BigMail.test=Someone",
    "a=b@x.test": "SRS0=OdVlMXMC=JS=x.test=a=b",
    "SRS0=abcd=TT=far.test=who@first.test": "SRS1=Be6TygER=first.test==abcd=TT=far.test=who",
    "SRS0+abcd=TT=far.test=who@first.test": "SRS1=hXYWYGm3=first.test=+abcd=TT=far.test=who",
    "srs0=a@b.test": "SRS1=1wmA3+tC=b.test==a",
    # Ours as well: anybody can write it.
    "me@mail.example.org": "SRS0=GmapTOOk=JS=mail.example.org=me",
    "me@example.org": "SRS0=K0hlSoD7=JS=example.org=me",
}


@pytest.mark.parametrize(("sender", "rewritten"), FROM_POSTSRSD.items())
def test_it_writes_and_reads_as_postsrsd_does(sender, rewritten):
    rewritten += f"@{DOMAIN}"
    assert at().forward(sender) == rewritten
    assert at().reverse(rewritten) == (sender if not sender.startswith("srs0") else "SRS0" + sender[4:])
    assert at().reverse(rewritten.lower()).lower() == sender.lower()


@pytest.mark.parametrize(
    ("sender", "rewritten"),
    [
        ("Jos\xc3\x89@x.test", "SRS0=Nv+SbgoG=JS=x.test=Jos\xc3\x89"),  # octets of UTF-8
        ("M\xdcller@x.test", "SRS0=y4N2Fhpr=JS=x.test=M\xdcller"),
    ],
)
def test_letters_outside_of_ascii_keep_their_case_as_in_postsrsd(sender, rewritten):
    assert at().forward(sender) == f"{rewritten}@{DOMAIN}"
    assert at().reverse(f"{rewritten}@{DOMAIN}") == sender


def test_of_what_was_rewritten_twice_the_first_is_told():
    assert at().forward("SRS1=zzzz=one.test==abcd=TT=far.test=who@second.test") == f"SRS1=pQwUbWXo=one.test==abcd=TT=far.test=who@{DOMAIN}"
    assert at().reverse(f"SRS1=pQwUbWXo=one.test==abcd=TT=far.test=who@{DOMAIN}") == "SRS0=abcd=TT=far.test=who@one.test"


@pytest.mark.parametrize("sender", ["", "root", "@x.test", "SRS1=a@x.test", "SRS1=a=b=c@x.test"])
def test_these_stay(sender):
    assert at().forward(sender) is None


@pytest.mark.parametrize(("days", "works"), [(0, True), (21, True), (22, False), (200, False), (1023, False), (-1, False)])
def test_a_bounce_may_take_three_weeks(days, works):
    assert SRS.LIFE == SRS_DAYS
    for moment in (NOW, 1024 * DAY * 20 + 3):  # the second day is the fourth of its period
        made = at(moment).forward("a@x.test")
        assert (at(moment + days * DAY).reverse(made) == "a@x.test") is works


@pytest.mark.parametrize("forged", [
    "SRS0=AAAAAAAA=JS=x.test=a", "SRS0=Z673rxeD=JR=BigMail.test=Someone", "SRS0=Z673rxeD=JS=BigMail.test=Else",
    "SRS0=Z673rxeD=JS=Other.test=Someone", "SRS0=Z673rxe=JS=BigMail.test=Someone", "SRS0=Z673=JS=BigMail.test=Someone",
    "SRS0=Z673rxeDD=JS=BigMail.test=Someone", "SRS0==JS=BigMail.test=Someone", "SRS0=Z673rxeD=J1=BigMail.test=Someone",
    "SRS0=Z673rxeD=JS=BigMail.test", "SRS0=Z673rxeD=JS=BigMail.test=", "SRS0=", "SRS0", "SRS1=AAAAAAAA=first.test==abcd=TT=far.test=who",
    "SRS1=Be6TygER=other.test==abcd=TT=far.test=who", "SRS1=Be6T=first.test==abcd=TT=far.test=who",
    "SRS1=Be6TygER=first.test=abcd", "SRS1=Be6TygER=first.test=", "SRS2=Z673rxeD=JS=BigMail.test=Someone", "someone",
    "SRS0=\xff\xe9\xd0=JS=x.test=a"])
def test_what_was_not_made_here_is_nobody(forged):
    assert at().reverse(f"{forged}@{DOMAIN}") is None


def test_neither_of_another_domain_nor_with_another_secret():
    made = at().forward("a@x.test")
    assert at().reverse(made.replace(DOMAIN, "mail.example.net")) is None
    assert at(secret=b"another-secret-of-ours").reverse(made) is None


def test_one_of_an_earlier_release_is_read_while_that_is_allowed_and_no_shorter_one():
    former = "SRS0=Z673=JS=BigMail.test=Someone"
    assert at(shortest=SRS.FORMER_HASH_LENGTH).reverse(f"{former}@{DOMAIN}") == "Someone@BigMail.test"
    assert at(shortest=SRS.FORMER_HASH_LENGTH).reverse(f"{former.replace('Z673', 'Z67')}@{DOMAIN}") is None
    assert at(shortest=SRS.FORMER_HASH_LENGTH).forward("Someone@BigMail.test") == f"SRS0=Z673rxeD=JS=BigMail.test=Someone@{DOMAIN}"


@pytest.mark.parametrize(
    ("table", "age", "shortest"),
    [("# by us\n%^(SRS0)%\n", 0, 4), ("# by us\n%^(SRS0)%\n", 22, 4), ("# by us\n%^(SRS0)%\n", 23, 8), ("# none\n", 0, 8)],
)
def test_that_is_for_as_long_as_a_bounce_may_take_and_only_where_there_was_one(tmp_path, table, age, shortest):
    (tmp_path / "before").write_text(table)
    written = (tmp_path / "before").stat().st_mtime
    assert SRS.shortest(str(tmp_path / "before"), lambda: written + age * DAY) == shortest


def test_the_lengths_are_those_of_the_tables():
    assert (SRS.HASH_LENGTH, SRS.FORMER_HASH_LENGTH) == (postfix.HASH_LENGTH, postfix.FORMER_HASH_LENGTH)


def test_one_that_was_made_here_stays_and_one_that_was_not_does_not():
    for sender in ("a@x.test", "SRS0=abcd=TT=far.test=who@first.test"):
        made = at().forward(sender)
        assert at().forward(made) is None
        assert at().forward(made.replace(made[5], "B" if made[5] in "Aa" else "A", 1)) is not None


def spoken(tmp_path, said, **files):
    """Start the program as its own process and return what it says."""
    given = {"secret": "correct-horse-battery\n", "before": "# Ansible managed\n", **files}
    for name, text in given.items():
        (tmp_path / name).write_text(text)
    paths = [option for name in given for option in (f"--{name}", str(tmp_path / name))]
    return subprocess.run([sys.executable, "-IS", str(PROGRAM), "--domain", DOMAIN, *paths], input=said, capture_output=True, timeout=20)


def netstring(text):
    return b"%d:%s," % (len(text), text)


def test_it_speaks_netstrings(tmp_path):
    said = [b"forward root", b"forward a@x.test", b"reverse nobody@mail.example.org", b"other x", b"forward caf\xe9@x.test"]
    done = spoken(tmp_path, b"".join(map(netstring, said)))
    kept, rewritten, nobody, wrong, odd = [part.partition(b":")[2] for part in done.stdout.split(b",")[:-1]]
    assert (done.returncode, done.stderr, kept, nobody, wrong) == (0, b"", b"NOTFOUND ", b"NOTFOUND ", b"PERM no map 'other'")
    assert rewritten.startswith(b"OK SRS0=") and rewritten.endswith(b"=x.test=a@mail.example.org")
    assert b"=caf\xe9@mail.example.org" in odd
    back = spoken(tmp_path, netstring(b"reverse " + rewritten[3:])).stdout
    assert back == netstring(b"OK a@x.test")


@pytest.mark.parametrize("said", [b"", b"5:hel", b"x", b"3:abc", b"99999:" + b"x" * 99999 + b",", b"3:abcd", b":,", b"123456:"])
def test_whoever_says_something_else_is_left(tmp_path, said):
    done = spoken(tmp_path, said)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_a_secret_it_says_nothing_at_all(tmp_path):
    done = spoken(tmp_path, netstring(b"forward a@x.test"), secret="\n")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
