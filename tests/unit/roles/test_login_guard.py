# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard of log-ins, as Dovecot and OpenSMTPD's filter report to it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from program import load

PROGRAM = Path(__file__).resolve().parents[3] / "roles/protection/files/login_guard.py"
GUARD = load(PROGRAM)
OFFICE, OTHER = "198.51.100.9", "198.51.100.10"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guesses(clock):
    return GUARD.Guesses(6, 600, 10, ["127.0.0.0/8", "::1", "2001:db8::7"], clock)


def fails(guesses, address, name, password, **more):
    """Report a wrong password as Dovecot 2.4 does."""
    return guesses.report({"remote": address, "login": name, "pwhash": password, "success": False, "policy_reject": False,
                           "fail_type": "credentials", **more})


def succeeds(guesses, address, name, password):
    return guesses.report({"remote": address, "login": name, "pwhash": password, "success": True, "fail_type": ""})


def test_an_old_password_that_is_tried_for_ever_is_no_guess(guesses, clock):
    for _try in range(5000):
        assert fails(guesses, OFFICE, "me@example.org", "a1") == ""
        clock.now += 0.5


def test_many_passwords_for_one_name_are_guesses(guesses):
    assert [fails(guesses, OFFICE, "me@example.org", f"{number}") for number in range(5)] == [""] * 5
    assert fails(guesses, OFFICE, "ME@example.org", "5") == (
        f"guesses from {OFFICE}/32: 6 wrong passwords within 600 s for 'me@example.org'")


def test_one_password_for_many_names_is_guesses(guesses):
    said = [fails(guesses, OFFICE, f"u{number}@example.org", "a1", fail_type="account") for number in range(6)]
    assert said[:5] == [""] * 5
    assert said[5].startswith(f"guesses from {OFFICE}/32: 6 wrong passwords within 600 s for 'u0@example.org', 'u1@example.org', ")


def test_guesses_are_those_within_the_window(guesses, clock):
    for number in range(50):
        assert fails(guesses, OFFICE, "me@example.org", f"{number}") == ""
        clock.now += 121


def test_what_was_reported_is_counted_anew(guesses):
    said = [fails(guesses, OFFICE, "me@example.org", f"{number}") for number in range(18)]
    assert [number for number, one in enumerate(said) if one] == [5, 11, 17]


def test_a_network_of_ipv6_is_one_client_and_a_mapped_address_is_that_of_ipv4(guesses):
    said = [fails(guesses, f"2001:db8:0:1::{number}", "me@example.org", f"{number}") for number in range(6)]
    assert said[5].startswith("guesses from 2001:db8:0:1::/64: ")
    said = [fails(guesses, f"::ffff:{OFFICE}" if number % 2 else OFFICE, "me@example.org", f"{number}") for number in range(6)]
    assert said[5].startswith(f"guesses from {OFFICE}/32: ")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2001:db8::7", "fe80::1%eth0", "unknown", "", "198.51.100.9 ", "\u0661.1.1.1"])
def test_trusted_addresses_neighbours_and_what_is_none_are_not_counted(guesses, address):
    assert [fails(guesses, address, "me@example.org", f"{number}") for number in range(20)] == [""] * 20
    assert guesses.allows(address, "me@example.org", "1")


def test_who_shares_a_network_with_a_trusted_address_is_counted(guesses):
    said = [fails(guesses, f"2001:db8::7{number}", "me@example.org", f"{number}") for number in range(6)]
    assert said[5].startswith("guesses from 2001:db8::/64: ")


def test_an_office_makes_more_mistakes_than_a_household(guesses):
    """After a password was changed everywhere: a hundred telephones with old ones, which were never right since the guard was started."""
    for number in range(100):
        succeeds(guesses, OFFICE, f"u{number}@example.org", "new")
    for _round in range(3):
        for number in range(100):
            assert fails(guesses, OFFICE, f"u{number}@example.org", "old") == ""
    # What one of them forgets is his own mistake. A guesser in the office is one in the end.
    said = [fails(guesses, OFFICE, "chief@example.org", f"{number}") for number in range(6)]
    assert [bool(one) for one in said] == [False] * 5 + [True]
    # Nobody elsewhere has more for it.
    assert [bool(fails(guesses, OTHER, "u1@example.org", f"{number}")) for number in range(6)] == [False] * 5 + [True]


def test_also_where_thousands_log_in_somebody_guesses_in_the_end(guesses):
    for number in range(3000):
        succeeds(guesses, OFFICE, f"u{number}@example.org", "new")
    said = [fails(guesses, OFFICE, "chief@example.org", f"{number}") for number in range(506)]
    assert [number for number, one in enumerate(said) if one] == [505]


def test_accounts_that_have_logged_in_count_for_a_day(guesses, clock):
    for number in range(20):
        succeeds(guesses, OFFICE, f"u{number}@example.org", "new")
    clock.now += 86401
    assert [bool(fails(guesses, OFFICE, "chief@example.org", f"{number}")) for number in range(6)] == [False] * 5 + [True]


def test_one_account_is_one_however_often_and_from_wherever_it_logs_in(guesses):
    for _time in range(50):
        succeeds(guesses, OFFICE, "mallory@example.org", "mine")
        succeeds(guesses, OTHER, "mallory@example.org", "mine")
    assert [bool(fails(guesses, OFFICE, "chief@example.org", f"{number}")) for number in range(7)] == [False] * 6 + [True]


def test_a_password_that_was_right_is_no_guess_for_its_name_anywhere(guesses):
    for number in range(10):
        succeeds(guesses, OTHER, f"u{number}@example.org", "old")
    assert [fails(guesses, OFFICE, f"u{number}@example.org", "old") for number in range(10)] == [""] * 10
    assert [bool(fails(guesses, OFFICE, f"v{number}@example.org", "old")) for number in range(6)] == [False] * 5 + [True]


def test_who_finds_the_right_one_has_one_mistake_less(guesses):
    for number in range(5):
        fails(guesses, OFFICE, f"u{number}@example.org", "a1")
    succeeds(guesses, OFFICE, "u0@example.org", "a1")
    # One pair less, and one account more.
    assert [bool(fails(guesses, OFFICE, f"v{number}@example.org", "a1")) for number in range(3)] == [False, False, True]


@pytest.mark.parametrize("fail_type", ["internal", "disabled", "expired", "policy", "", None])
def test_an_error_of_our_own_is_nobodys_guess(guesses, fail_type):
    assert [fails(guesses, OFFICE, "me@example.org", f"{number}", fail_type=fail_type) for number in range(20)] == [""] * 20


def test_what_was_refused_here_is_no_guess(guesses):
    assert [fails(guesses, OFFICE, "me@example.org", f"{number}", policy_reject=True) for number in range(20)] == [""] * 20


def test_a_name_that_was_not_given_is_no_guess(guesses):
    assert [fails(guesses, OFFICE, "", f"{number}") for number in range(20)] == [""] * 20


def dovecot_23(guesses, address, name, password, success=False):
    return guesses.report({"remote": address, "login": name, "pwhash": password, "success": success, "policy_reject": False})


def event(guesses, address, name, **fields):
    return guesses.event({"event": "auth_passdb_request_finished", "fields": {"remote_ip": address, "user": name, **fields}})


@pytest.mark.parametrize("event_first", [False, True])
def test_of_dovecot_23_both_reports_make_a_guess(guesses, event_first):
    said = []
    for number in range(6):
        both = [lambda number=number: dovecot_23(guesses, OFFICE, "Me@example.org", f"{number}"),
                lambda: event(guesses, OFFICE, "me@example.org")]
        said += [one() for one in (reversed(both) if event_first else both)]
    assert [bool(one) for one in said] == [False] * 11 + [True]


def test_of_dovecot_23_guesses_in_parallel_are_all_counted(guesses):
    assert [dovecot_23(guesses, OFFICE, "me@example.org", f"{number}") for number in range(6)] == [""] * 6
    said = [event(guesses, OFFICE, "me@example.org") for _number in range(6)]
    assert [bool(one) for one in said] == [False] * 5 + [True]


def test_of_dovecot_23_an_error_of_its_own_is_nobodys_guess(guesses):
    assert [dovecot_23(guesses, OFFICE, f"u{number}@example.org", "a1") for number in range(50)] == [""] * 50


def test_of_dovecot_23_events_without_a_report_count_nobody(guesses):
    """Any program of the host can send them."""
    assert [event(guesses, OFFICE, f"u{number}@example.org") for number in range(50)] == [""] * 50


def test_of_dovecot_23_both_reports_come_together(guesses, clock):
    for number in range(50):
        dovecot_23(guesses, OFFICE, f"u{number}@example.org", "a1")
    clock.now += 31
    assert [event(guesses, OFFICE, f"u{number}@example.org") for number in range(50)] == [""] * 50


def test_of_dovecot_23_a_translated_name_is_found_by_what_it_was(guesses):
    said = []
    for number in range(6):
        dovecot_23(guesses, OFFICE, "me", f"{number}")
        said.append(event(guesses, OFFICE, "me@example.org", original_user="me"))
    assert said[5].startswith(f"guesses from {OFFICE}/32: ")


def test_of_tries_whose_password_nobody_knows_five_are_one(guesses, clock):
    """A scanner that tries AUTH LOGIN of OpenSMTPD with an old password, and a guesser."""
    for _try in range(500):
        assert fails(guesses, OFFICE, "scan@example.org", None) == ""
        clock.now += 25
    said = [fails(guesses, OTHER, "me@example.org", None) for _try in range(26)]
    assert [bool(one) for one in said] == [False] * 25 + [True]
    said = [fails(guesses, OTHER, f"u{number}@example.org", None) for number in range(6)]
    assert [bool(one) for one in said] == [False] * 5 + [True]


def test_one_wrong_password_is_verified_so_often_in_a_minute_and_others_are_not_concerned(guesses, clock):
    clock.now = 6000.0
    for _try in range(10):
        assert guesses.allows(OFFICE, "Me@example.org", "a1")
        fails(guesses, OFFICE, "me@example.org", "a1")
    assert not guesses.allows(OFFICE, "me@Example.org", "a1")
    assert guesses.allows(OFFICE, "me@example.org", "a2")
    assert guesses.allows(OFFICE, "you@example.org", "a1")
    assert guesses.allows(OTHER, "me@example.org", "a1")
    clock.now += 60
    assert guesses.allows(OFFICE, "me@example.org", "a1")


def test_a_right_password_is_verified_however_often(guesses):
    for _time in range(1000):
        assert guesses.allows(OFFICE, "me@example.org", "a1")
        succeeds(guesses, OFFICE, "me@example.org", "a1")


def test_who_guesses_is_refused_until_he_is_banned(guesses, clock):
    for number in range(6):
        fails(guesses, OFFICE, "me@example.org", f"{number}")
    assert not guesses.allows(OFFICE, "me@example.org", "right")
    assert guesses.allows(OTHER, "me@example.org", "right")
    clock.now += 4
    assert guesses.allows(OFFICE, "me@example.org", "right")


def test_memory_has_bounds(guesses, clock):
    for number in range(21_000):
        fails(guesses, f"2001:db8:{number:x}::1", "x" * 5000, "a1")
        succeeds(guesses, OFFICE, f"u{number}@example.org", "a1")
        event(guesses, OFFICE, f"v{number}@example.org")
        clock.now += 0.001
    assert (len(guesses.networks), len(guesses.right)) == (10_000, 20_000)
    assert (len(guesses.explained), len(guesses.networks[f"{OFFICE}/32"][1].accounts)) == (1000, 500)
    assert max(len(name) for name, _password in next(iter(guesses.networks.values()))[1].pairs) == 320


# --- The whole program ---


class Running:
    """The guard as it runs, logging to standard error."""

    def __init__(self, directory, *options):
        self.secret = directory / "secret.conf"
        self.secret.write_text("# x\nauth_policy_server_api_header = Authorization: s3cret\nauth_policy_hash_nonce = n\n")
        self.socket = directory / "run/reports.sock"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        group = ["--socket", self.socket, "--group", "root"]
        command = [sys.executable, PROGRAM, "--secret", "-", "--port", self.port, "--most", 6, "--window", 600, "--rate", 10,
                   "--trusted=127.0.0.0/8", *group, *options]
        with self.secret.open() as secret:
            self.process = subprocess.Popen([str(word) for word in command], stdin=secret, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        for _try in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                break
            except ConnectionRefusedError:
                threading.Event().wait(0.05)

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        return self.lines


@pytest.fixture
def running(tmp_path):
    guard = Running(tmp_path)
    yield guard
    guard.end()


def connected(guard):
    return http.client.HTTPConnection("127.0.0.1", guard.port, timeout=10)


def asked(connection, target, secret="s3cret", **given):
    body = json.dumps(given)
    connection.request("POST", target, body, {"Authorization": secret} if secret else {})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_dovecot_and_the_filter_report_to_one_guard(running):
    connection = connected(running)
    for number in range(3):
        status, answer = asked(connection, "/?command=report", remote=OFFICE, login="a\nb", pwhash=f"{number}", success=False,
                               fail_type="credentials")
        assert (status, answer) == (200, {"status": 0, "msg": ""})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as source:
        for number in range(3):
            report = {"remote": OFFICE, "login": "me", "pwhash": f"{number}", "success": False, "fail_type": "credentials"}
            source.sendto(json.dumps(report).encode(), str(running.socket))
    while asked(connection, "/?command=allow", remote=OFFICE, login="me", pwhash="1")[1]["status"] == 0:
        pass
    assert asked(connection, "/?command=allow", remote=OTHER, login="me", pwhash="1") == (200, {"status": 0, "msg": ""})
    connection.close()
    assert running.end() == [f"guesses from {OFFICE}/32: 6 wrong passwords within 600 s for 'a\\nb', 'me'"]


def test_nobody_without_the_secret_is_believed(running):
    for secret in ("", "s3cre", "S3cret", "s3cret2"):
        for number in range(6):
            connection = connected(running)
            assert asked(connection, "/?command=report", secret, remote=OFFICE, login="me", pwhash=f"{number}", success=False,
                         fail_type="credentials")[0] == 403
            connection.close()
    for _event in range(6):
        connection = connected(running)
        assert asked(connection, "/event", "", fields={"remote_ip": OFFICE, "user": "me"})[0] == 200
        connection.close()
    assert running.end() == []


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 999999\r\n\r\n", b"x" * 20_000,
     b"POST /event HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]", b"POST /event HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
     b"POST /event HTTP/1.1\r\nContent-Length: 3\r\n\r\n\xff\xff\xff", b"POST /event HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
)
def test_what_is_no_request_is_refused_and_others_are_served(running, octets):
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
        stream.sendall(octets)
        assert stream.recv(100).startswith(b"HTTP/1.1 400 ")
    connection = connected(running)
    assert asked(connection, "/?command=allow", remote=OFFICE, login="me", pwhash="1") == (200, {"status": 0, "msg": ""})
    connection.close()


def test_who_says_nothing_does_not_keep_others_out(running):
    silent = [socket.create_connection(("127.0.0.1", running.port), timeout=10) for _number in range(250)]
    try:
        # The first of them are closed after seconds.
        assert silent[0].recv(1) == b""
        connection = connected(running)
        assert asked(connection, "/?command=allow", remote=OFFICE, login="me", pwhash="1")[0] == 200
        connection.close()
    finally:
        for stream in silent:
            stream.close()


@pytest.mark.parametrize("octets", [b"", b"x", b"[]", b'{"remote": 1}', b'{"remote": "198.51.100.9", "login": "a", "pwhash": []}'])
def test_a_datagram_that_is_no_report_is_logged(running, octets):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as source:
        source.sendto(octets, str(running.socket))
        report = {"remote": OFFICE, "login": "me", "success": False, "fail_type": "credentials"}
        for number in range(6):
            source.sendto(json.dumps({**report, "pwhash": f"{number}"}).encode(), str(running.socket))
    while len(running.lines) < 2:
        threading.Event().wait(0.05)
    first, second = running.end()
    assert first.startswith("a report is not understood: ")
    assert second.startswith(f"guesses from {OFFICE}/32: ")


def test_the_socket_is_for_its_group_alone(running):
    assert oct(running.socket.stat().st_mode & 0o777) == "0o660"


def test_pf_is_told_what_is_a_network_and_nothing_else(monkeypatch):
    told = []
    monkeypatch.setattr(GUARD.subprocess, "run", lambda command, **_more: told.append(command))
    GUARD.ban_with_pf([f"{OFFICE}/32\n", "2001:db8::/64\n"], "mail:banned")
    assert told == [
        ["/sbin/pfctl", "-q", "-a", "mail", "-t", "banned", "-T", "add", f"{OFFICE}/32"], ["/sbin/pfctl", "-q", "-k", f"{OFFICE}/32"],
        ["/sbin/pfctl", "-q", "-a", "mail", "-t", "banned", "-T", "add", "2001:db8::/64"], ["/sbin/pfctl", "-q", "-k", "2001:db8::/64"]]
    with pytest.raises(ValueError, match="-T"):
        GUARD.ban_with_pf(["-T flush\n"], "mail:banned")


def test_without_a_secret_the_guard_does_not_start(tmp_path):
    (tmp_path / "secret.conf").write_text("auth_policy_server_api_header =\n")
    with pytest.raises(SystemExit, match="no secret in"):
        GUARD.read_secret(str(tmp_path / "secret.conf"))


def test_nftables_is_told_networks_by_their_family_and_for_how_long(monkeypatch):
    told = []
    monkeypatch.setattr(GUARD.subprocess, "run", lambda command, **_more: told.append(command))
    for network in ("198.51.100.5/32", "2001:db8:9::/64"):
        GUARD.ban_with_nft("postmaster_mail", network, 600)
    start = ["/usr/sbin/nft", "add", "element", "inet", "postmaster_mail"]
    assert told == [[*start, "banned4", "{ 198.51.100.5/32 timeout 600s }"], [*start, "banned6", "{ 2001:db8:9::/64 timeout 600s }"]]
    with pytest.raises(ValueError):
        GUARD.ban_with_nft("postmaster_mail", "x }; flush ruleset", 600)
