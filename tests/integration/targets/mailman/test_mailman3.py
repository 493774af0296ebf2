# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module and its table against Mailman 3 behind Postfix, from Debian's packages, in the test network.

Forged senders write to a list and to each of its addresses. What the host sends anywhere arrives at a sink of ours.
"""

from __future__ import annotations

import json
import smtplib
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

CONTROLLER, STRANGER = "198.51.100.1", "198.51.100.5"
SUFFIXES = ("bounces", "confirm", "join", "leave", "owner", "request", "subscribe", "unsubscribe")
# Postfix takes no sender at a domain that does not exist.
VICTIMS = "bigmail.test"
COMMANDS = ("join", "leave", "request", "subscribe", "unsubscribe")


class Sink:
    """An SMTP server that takes everything and remembers the recipients."""

    def __init__(self):
        self.recipients = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(b"220 sink\r\n")
                for line in self.rfile:
                    verb = line[:4].upper()
                    if verb == b"RCPT":
                        outer.recipients.append(line.decode().partition("<")[2].partition(">")[0])
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        while self.rfile.readline() not in (b".\r\n", b""):
                            pass
                    self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                    if verb == b"QUIT":
                        return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self.server = Server((CONTROLLER, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Host:
    def __init__(self, name, directory, sink):
        self.name, self.directory, self.sink = name, directory, sink
        self.domain = name.partition(".")[2]
        self.address = f"198.51.100.{Inventory().host(name).number}"

    def play(self, playbook, *arguments, **variables):
        done = subprocess.run(
            [str(TESTNET / "inside"), "ansible-playbook", "-i", str(TESTNET / "inventory.yml"), "--limit", self.name,
             str(HERE / playbook), "-e", json.dumps(variables), *arguments],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def build(self, playbook, *arguments):
        """What the playbook's last line says of the host."""
        said = self.play(playbook, *arguments, sink_address=CONTROLLER, sink_port=self.sink.port)
        return said.rpartition("PLAY RECAP")[2]

    def harden(self, *arguments, refusing="", **options):
        """What the module returned; ``refusing`` is the role whose refusals follow."""
        path = self.directory / "result.json"
        path.unlink(missing_ok=True)
        self.play("harden.yml", *arguments, options=options, refusing=refusing, result_file=str(path))
        return json.loads(path.read_text())

    def run(self, command):
        settings = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        options = ["-i", f"{STATE}/ssh/id_ed25519", *(word for setting in settings for word in ("-o", setting))]
        done = subprocess.run(
            [str(TESTNET / "inside"), "ssh", *options, f"root@{self.address}", command],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rest(self, method, path, data=""):
        """Ask Mailman as somebody else would."""
        self.run(
            "password=$(sed -n 's/^admin_pass: *//p' /etc/mailman3/mailman.cfg); python3 - <<E\n"
            "from urllib.request import *\nfrom base64 import b64encode\n"
            f"request = Request('http://localhost:8001/3.1/{path}', {data.encode() or None!r}, method='{method}')\n"
            "request.add_header('Authorization', 'Basic ' + b64encode(b'restadmin:$password').decode())\nurlopen(request)\nE"
        )

    def write(self, sender, recipient):
        """The server's answer to RCPT; the message is sent if it is taken."""
        with machine.inside_network(), smtplib.SMTP(self.address, source_address=(STRANGER, 0), timeout=60) as smtp:
            smtp.ehlo("good.client.test")
            smtp.mail(sender)
            code, said = smtp.rcpt(recipient)
            if code == 250:
                smtp.data(
                    f"From: {sender}\r\nTo: {recipient}\r\nSubject: join\r\nMessage-ID: <{time.time_ns()}@bigmail.test>\r\n"
                    "Date: Sun, 22 Nov 2026 08:00:00 +0000\r\n\r\njoin\r\n"
                )
            return code, said.decode()

    def settled(self):
        """Wait until neither Mailman nor the mail server has anything left to do."""
        queues = "/var/lib/mailman3/queue /var/spool/postfix/incoming /var/spool/postfix/active /var/spool/postfix/deferred"
        count = f"find {queues} /var/spool/smtpd/queue -type f -not -path '*/shunt/*' -not -path '*/bad/*' 2>/dev/null || :"
        until = time.monotonic() + 120
        quiet = 0
        while quiet < 3:
            assert time.monotonic() < until, self.run(count)
            quiet = 0 if self.run(f"sleep 0.5; {count}") else quiet + 1

    def forged(self, mark, lists=("news",)):
        """Write as somebody else to every address of the lists; returns the answers, and who then got mail of that."""
        del self.sink.recipients[:]
        answers = {}
        for name in lists:
            for local in (name, *(f"{name}-{suffix}" for suffix in SUFFIXES), f"{name}-confirm+0123456789abcdef"):
                answers[local] = self.write(f"{mark}.{local.replace('+', '.')}@{VICTIMS}", f"{local}@{self.domain}")
        self.settled()
        return answers, sorted({rcpt.partition("@")[0] for rcpt in self.sink.recipients if rcpt.endswith(f"@{VICTIMS}")})


@pytest.fixture(scope="module", params=["mail.lists.test", "mail.lists12.test"], ids=["Debian 13", "Debian 12"])
def host(request, tmp_path_factory):
    subprocess.run([str(TESTNET / "testnet"), "destroy", request.param], check=True, capture_output=True)
    subprocess.run([str(TESTNET / "testnet"), "boot", request.param], check=True, capture_output=True)
    with machine.inside_network():
        sink = Sink()
    found = Host(request.param, tmp_path_factory.mktemp("mailman"), sink)
    found.build("playbook.yml")
    yield found
    sink.server.shutdown()
    subprocess.run([str(TESTNET / "testnet"), "destroy", request.param], check=True, capture_output=True)


def test_unhardened_mailman_answers_forged_senders(host):
    """So that the silence below means something."""
    answers, victims = host.forged("before")
    assert {code for code, _said in answers.values()} == {250}
    answered = ("", "-confirm", "-confirm.0123456789abcdef", "-join", "-leave", "-request", "-subscribe", "-unsubscribe")
    assert victims == [f"before.news{end}" for end in answered]


def test_check_mode_tells_what_would_change_and_changes_nothing(host):
    planned = host.harden("--check", "--diff")
    assert planned["changed"] is True
    assert planned["version"] == 3
    assert host.harden("--check")["lists"] == planned["lists"]
    changes = {entry["address"]: entry["changes"] for entry in planned["lists"]}
    assert set(changes) == {f"{name}@{host.domain}" for name in ("news", "talk", "talk-request")}
    assert changes[f"news@{host.domain}"]["respond_to_post_requests"] == {"before": True, "after": False}
    assert len(planned["diff"]) == 3


def test_some_lists_only_and_single_settings(host):
    name = f"talk@{host.domain}"
    done = host.harden(lists=[f"talk.{host.domain}"], profile="none", settings={"max_days_to_hold": 3, "autoresponse_grace_period": "13w"})
    assert [entry["address"] for entry in done["lists"]] == [name]
    assert done["lists"][0]["changes"]["max_days_to_hold"] == {"before": 0, "after": 3}
    again = host.harden(lists=[name], profile="none", settings={"max_days_to_hold": "3", "autoresponse_grace_period": "91d"})
    assert again["changed"] is False


def refused(answers):
    """What the mail server said to those of whom it took nothing; exactly the commands are refused."""
    commands = {local for local in answers if local.rpartition("-")[2] in COMMANDS and local != "talk-request"}
    assert {local: code for local, (code, _said) in answers.items()} == {local: 550 if local in commands else 250 for local in answers}
    return {answers[local][1] for local in commands}


def test_hardened_mailman_sends_forged_senders_nothing(host):
    """By the role, which installs nothing and has our mail server refuse the commands."""
    packages = host.run("dpkg -l")
    assert "changed=0 " not in host.play("role.yml")
    assert "changed=0 " in host.play("role.yml")
    assert host.run("dpkg -l") == packages
    done = host.harden()
    for arguments in (("--check",), ()):
        assert host.harden(*arguments)["changed"] is False
    assert f"talk-request@{host.domain}" not in done["refusals"]["addresses"]
    # The whole role, which knows nothing of lists, leaves the table as it is.
    assert "changed=0 " in host.build("playbook.yml")
    answers, victims = host.forged("after", ["news", "talk", "talk-request"])
    assert victims == []
    assert all(said.startswith("5.7.1 ") and said.endswith("Commands by mail are not taken here; use the web interface")
               for said in refused(answers))
    # The sink still listens: what was written to LIST-owner reached a person.
    assert "owner@elsewhere.test" in host.sink.recipients


def test_closed_lists_send_forged_senders_nothing_either(host):
    done = host.harden(profile="closed", refusing="postfix")
    assert done["lists"][0]["changes"]["ban_list"] == {"before": [], "after": ["^.*$"]}
    assert host.harden(profile="closed")["changed"] is False
    assert host.forged("closed", ["news", "talk"])[1] == []


def test_bans_that_hold_already_are_no_change(host):
    """The list is closed: Mailman takes no ban beside the one for all."""
    talk = f"talk@{host.domain}"
    closed = {"lists": [talk], "profile": "closed"}
    for arguments in (("--check",), ()):
        assert host.harden(*arguments, **closed, settings={"ban_list": ["spammer@spam.test"]})["changed"] is False
    host.rest("DELETE", f"lists/talk.{host.domain}/bans/%5E.%2A%24")
    host.rest("POST", "bans", "email=%5E.%2A%24")
    for arguments in (("--check",), ()):
        assert host.harden(*arguments, **closed)["changed"] is False
    host.rest("DELETE", "bans/%5E.%2A%24")
    done = host.harden(**closed, settings={"ban_list": ["spammer@spam.test"]})
    assert done["lists"][0]["changes"] == {"ban_list": {"before": [], "after": ["spammer@spam.test", "^.*$"]}}


def test_a_number_with_a_fraction(host):
    options = {"lists": [f"news@{host.domain}"], "profile": "none", "settings": {"digest_size_threshold": 50}}
    change = {"digest_size_threshold": {"before": 30.0, "after": 50.0}}
    assert host.harden("--check", **options)["lists"][0]["changes"] == host.harden(**options)["lists"][0]["changes"] == change
    assert host.harden(**options)["changed"] is False


def test_after_an_error_in_the_middle_it_is_told_what_was_changed(host):
    """Mailman does not like this address; at the closed list it need not be asked."""
    host.rest("DELETE", f"lists/talk-request.{host.domain}/bans/%5E.%2A%24")
    result = host.harden(
        lists=[f"talk@{host.domain}", f"talk-request@{host.domain}"], profile="none",
        settings={"max_days_to_hold": 9, "ban_list": ["a|b@spam.test"]},
    )  # fmt: skip
    assert result["failed"] is True
    assert "Expected a valid email address or regular expression, got a|b@spam.test" in result["msg"]
    assert result["changed"] is True
    change = {"max_days_to_hold": {"before": 30, "after": 9}}
    assert result["lists"] == [{"address": f"{name}@{host.domain}", "changes": change} for name in ("talk", "talk-request")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"moderator_password": "sesame"}},
         "settings 'moderator_password' is a secret, which this module neither compares nor sets"),
        ({"settings": {"subscription_policy": "sometimes"}},
         'Mailman refused PATCH lists/news.DOMAIN/config: Invalid Parameter "subscription_policy": '
         "Accepted Values are: open, confirm, moderate, confirm_then_moderate. (400)"),
        ({"settings": {"reply_with_insults": True}}, "settings 'reply_with_insults' is not a setting of this Mailman's lists"),
        ({"user": "nobody"}, "Mailman refused GET lists: user or password is wrong (401)"),
        ({"url": "http://localhost:9"}, "Mailman's REST API does not answer at http://localhost:9/3.1: [Errno 111] Connection refused"),
        ({"lists": ["nobody@DOMAIN"]}, "lists 'nobody@DOMAIN' is not here; there are: news@DOMAIN, talk@DOMAIN, talk-request@DOMAIN"),
        ({"virtual_file": "/etc/postfix/virtual"},
         "virtual_file is for Mailman 2.1; Mailman 3 writes its tables itself: refuse the addresses by refusals instead"),
    ],
)  # fmt: skip
def test_errors(host, options, message):
    options = json.loads(json.dumps(options).replace("DOMAIN", host.domain))
    result = host.harden(**options)
    assert result["failed"] is True
    assert result["msg"] == message.replace("DOMAIN", host.domain)


def test_opensmtpd_refuses_the_same(host):
    """The last test here: Debian has one mail server at a time."""
    host.build("opensmtpd.yml")
    assert host.write(f"someone@{VICTIMS}", f"news-join@{host.domain}")[0] == 250
    assert host.harden(refusing="opensmtpd")["refusals"]["addresses"]
    assert "changed=0 " in host.build("opensmtpd.yml")
    host.settled()
    answers, victims = host.forged("opensmtpd", ["news", "talk", "talk-request"])
    assert victims == []
    assert refused(answers)
    for local in ("News-Request", "news-leave+x=y", "talk-request-join"):
        assert host.write(f"someone@{VICTIMS}", f"{local}@{host.domain}")[0] == 550, local
    assert host.write(f"someone@{VICTIMS}", f"news-joint@{host.domain}")[0] == 250
