# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``mail_lists`` by the whole site, behind Postfix and behind OpenSMTPD: real subscribers, at the strict receiver and on the host.

What a member of a domain with a policy writes is rewritten, what others write is not, and the domain of the list signs both. Owners are
humans. Strangers get no answer, and nobody gets one whom a forger names, by mail or by the web. The tests build on each other, in the order
of this file.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import email.utils
import html
import http.client
import imaplib
import json
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory, ipv4

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

INVENTORY = Inventory()
BIGMAIL = INVENTORY.variables["testnet_bigmail"]
TSIG = INVENTORY.variables["testnet_tsig"]
NS, BIG = (ipv4(INVENTORY.host(name).number) for name in ("ns.test", BIGMAIL["host"]))
# Its domain publishes SPF and p=reject, the other one SPF alone.
STRICT, OPEN = ("author@client.test", "198.51.100.1"), ("author@second.test", "198.51.100.5")
PASSWORD = "correct-horse"
#: Seconds to wait for what must come, and for what must not.
PATIENCE, BOUND = 180, 15


def inside(*words: str, text: str | None = None, timeout: float = 120) -> str:
    done = subprocess.run([str(TESTNET / "inside"), *words], input=text, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def message(sender: str, recipient: str, text: str = "Hello.") -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, recipient, uuid.uuid4().hex
    made["Date"], made["Message-ID"] = email.utils.formatdate(), f"<{uuid.uuid4().hex}@{sender.rpartition('@')[2]}>"
    made.set_content(text)
    return made


class Mailbox:
    """A mailbox on an IMAP server."""

    def __init__(self, address: str, user: str) -> None:
        self.address, self.user = address, user

    def search(self, *criteria: str) -> list[email.message.EmailMessage]:
        with machine.inside_network():
            session = imaplib.IMAP4(self.address, timeout=60)
        try:
            session.starttls(ssl._create_unverified_context())
            session.login(self.user, PASSWORD)
            session.select("INBOX", readonly=True)
            numbers = session.search(None, *criteria)[1][0].split()
            texts = [session.fetch(number.decode(), "(BODY.PEEK[])")[1][0][1] for number in numbers]
        finally:
            session.logout()
        return [email.message_from_bytes(text, policy=email.policy.default) for text in texts]

    def wait(self, *criteria: str, beside: int = 0) -> email.message.EmailMessage:
        """Return the last message that there is, once there is one more than so many."""
        end = time.monotonic() + PATIENCE
        while len(found := self.search(*criteria)) <= beside:
            assert time.monotonic() < end, f"nothing has come to {self.user}: {criteria}"
            time.sleep(0.5)  # IMAP without IDLE has no event to wait for
        return found[-1]


SOMEONE, SECOND = Mailbox(BIG, BIGMAIL["user"]), Mailbox(BIG, "second@bigmail.test")


class Host:
    def __init__(self, name: str) -> None:
        self.name = name
        self.domain = name.partition(".")[2]
        self.address = ipv4(INVENTORY.host(name).number)
        self.me = Mailbox(self.address, f"me@{self.domain}")

    def of(self, local: str) -> str:
        return f"{local}@{self.domain}"

    def run(self, command: str, text: str | None = None) -> str:
        settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ControlPath=none")
        options = [word for setting in settings for word in ("-o", setting)]
        return inside("ssh", "-q", *options, "-i", str(STATE / "ssh/id_ed25519"), f"root@{self.address}", command, text=text)

    def site(self, *options: str) -> str:
        words = ["ansible-playbook", "-i", str(TESTNET / "inventory.yml"), "-i", str(HERE / "inventory.yml"), "--limit", self.name,
                 str(HERE.parents[3] / "playbooks/site.yml"), *options]
        done = subprocess.run([str(TESTNET / "inside"), *words], capture_output=True, text=True, check=False, timeout=1500)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def rest(self, method: str, path: str, data: dict[str, str] | None = None) -> dict:
        """Ask Mailman as its owner would."""
        program = f"""
import base64, json, re, urllib.request
password = re.search(r"^admin_pass: *(\\S+)", open("/etc/mailman3/mailman.cfg").read(), re.M)[1]
data = {data!r}
request = urllib.request.Request("http://localhost:8001/3.1/{path}", json.dumps(data).encode() if data else None, method="{method}")
request.add_header("Authorization", "Basic " + base64.b64encode(b"restadmin:" + password.encode()).decode())
if data: request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request).read().decode() or "{{}}")
"""
        return json.loads(self.run("python3 -", program))

    def subscribe(self, name: str, address: str) -> None:
        if address in self.members(name):
            return
        known = dict.fromkeys(("pre_verified", "pre_confirmed", "pre_approved"), "true")
        who = {"list_id": f"{name}.{self.domain}", "subscriber": address}
        self.rest("POST", "members", {**who, "send_welcome_message": "false", **known})

    def members(self, name: str) -> set[str]:
        return {member["email"] for member in self.rest("GET", f"lists/{name}.{self.domain}/roster/member").get("entries", [])}

    def held(self, name: str) -> list[str]:
        """The subjects of posts that wait for a moderator."""
        return [post["subject"] for post in self.rest("GET", f"lists/{name}.{self.domain}/held").get("entries", [])]

    def write(self, author: tuple[str, str], recipient: str, sent: email.message.EmailMessage | None = None) -> tuple[str, int, str]:
        """Write from outside, as another mail server does; return the subject, and what was answered in the end."""
        sender, source = author
        sent = sent or message(sender, recipient)
        with machine.inside_network(), smtplib.SMTP(self.address, source_address=(source, 0), timeout=60) as smtp:
            smtp.ehlo("client.test" if source == STRICT[1] else "good.client.test")
            smtp.mail(sender)
            code, said = smtp.rcpt(recipient)
            if code == 250:
                code, said = smtp.data(sent.as_bytes())
        return str(sent["Subject"]), code, said.decode()

    def submit(self, sent: email.message.EmailMessage) -> None:
        """Send as the user of this host, logged in."""
        submit(self.address, self.me.user, sent)


class Browser:
    """Whoever looks at the web interface from outside, and believes the authority of the test network alone."""

    def __init__(self, host: Host) -> None:
        self.address, self.name = host.address, f"lists.{host.domain}"
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Return the status and the page, or where else to look."""
        sent = {"Host": self.name, "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if form is not None:
            body = urllib.parse.urlencode({**form, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")})
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"https://{self.name}{path}"}
        with machine.inside_network():
            plain = socket.create_connection((self.address, 443), timeout=60)
        context = ssl.create_default_context(cafile=str(STATE / "acme-root.pem"))
        connection = http.client.HTTPSConnection(self.name, timeout=60)
        connection.sock = context.wrap_socket(plain, server_hostname=self.name)
        try:
            connection.request("GET" if form is None else "POST", path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie", []):
                name, _is, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            return answer.status, answer.headers.get("Location") or answer.read().decode()
        finally:
            connection.close()

    def fill_in(self, path: str, **form: str) -> tuple[int, str]:
        self.ask("/accounts/login/")  # for its cookie
        return self.ask(path, form)

    def sees(self, path: str, text: str) -> bool:
        status, page = self.ask(path)
        return status == 200 and text in html.unescape(page)

    def wait(self, path: str, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.sees(path, text):
            assert time.monotonic() < end, self.ask(path)
            time.sleep(1)  # a page has no event to wait for


def archive(host: Host, name: str) -> str:
    return f"/hyperkitty/list/{host.of(name)}/latest"


def submit(address: str, user: str, sent: email.message.EmailMessage) -> None:
    with machine.inside_network(), smtplib.SMTP(address, 587, timeout=60) as smtp:
        smtp.starttls(context=ssl._create_unverified_context())
        smtp.login(user, PASSWORD)
        smtp.send_message(sent)


def verdicts(arrived: email.message.EmailMessage) -> list[tuple[str, str]]:
    """The domains whose signatures the strict receiver looked at, and what it found; DMARC with the domain in From."""
    text = " ".join(" ".join(arrived.get_all("Authentication-Results", [])).split())
    found = re.findall(r"\bdkim=(\w+)[^;]*?header\.d=([\w.-]+)", text)
    return [(domain, result) for result, domain in found] + [("dmarc", result) for result in re.findall(r"\bdmarc=(\w+)", text)]


@pytest.fixture(scope="module", params=["mail.lists.test", "mail.lists12.test"], ids=["Postfix, Debian 13", "OpenSMTPD, Debian 12"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(request.param)
    testnet, keep = str(TESTNET / "testnet"), os.environ.get("KEEP")  # as it is, and as it was left
    if not keep:
        subprocess.run([testnet, "destroy", made.name], check=True, capture_output=True)
    subprocess.run([testnet, "up", made.name], check=True, capture_output=True)
    lines = [f"server {NS}", "zone second.test", "update delete second.test A", "update delete second.test TXT",
             f"update add second.test 10 A {OPEN[1]}",
             f'update add second.test 10 TXT "v=spf1 ip4:{OPEN[1]} -all"', "send", ""]  # fmt: skip
    inside("nsupdate", "-y", f"{TSIG['algorithm']}:{TSIG['name']}:{TSIG['secret']}", text="\n".join(lines))
    made.site()
    for address in (BIGMAIL["user"], made.me.user, STRICT[0], OPEN[0]):
        made.subscribe("talk", address)
    for address in (BIGMAIL["user"], OPEN[0]):
        made.subscribe("news", address)
    made.site("--tags", "mailman")  # an owner has become a member
    yield made
    if not keep:
        subprocess.run([testnet, "destroy", made.name], check=True, capture_output=True)


def test_the_next_run_changes_nothing_and_check_mode_says_so(host: Host):
    for options in (["--check"], []):
        assert "changed=0 " in (said := host.site(*options)), said[-3000:]


def test_what_a_list_is_by_its_style(host: Host):
    for name, options in {"talk": (True, "defer", True), "news": (True, "hold", False), "board": (False, "defer", True)}.items():
        config = host.rest("GET", f"lists/{name}.{host.domain}/config")
        assert (config["advertised"], config["default_member_action"], config["allow_list_posts"]) == options, name


def test_a_post_from_a_domain_with_a_policy_is_rewritten_and_signed_by_the_list(host: Host):
    subject, code, said = host.write(STRICT, host.of("talk"))
    assert code == 250, said
    arrived = SOMEONE.wait("SUBJECT", subject)
    assert arrived["From"].addresses[0].addr_spec == host.of("talk")
    assert STRICT[0] in str(arrived["Reply-To"]) + str(arrived["Cc"])
    found = verdicts(arrived)
    assert (host.domain, "pass") in found and ("dmarc", "pass") in found, found
    assert f"<mailto:{host.of('talk-leave')}>" in arrived["List-Unsubscribe"]
    assert arrived["List-Id"].endswith(f"<talk.{host.domain}>")


def test_a_post_from_a_domain_without_one_stays_and_is_signed_by_the_list(host: Host):
    subject, code, said = host.write(OPEN, host.of("talk"))
    assert code == 250, said
    arrived = SOMEONE.wait("SUBJECT", subject)
    assert arrived["From"].addresses[0].addr_spec == OPEN[0]
    assert (host.domain, "pass") in verdicts(arrived), verdicts(arrived)


def test_a_user_of_this_host_posts_and_reads(host: Host):
    sent = message(host.me.user, host.of("talk"))
    host.submit(sent)
    arrived = SOMEONE.wait("SUBJECT", sent["Subject"])
    assert arrived["From"].addresses[0].addr_spec == host.of("talk")
    assert {(host.domain, "pass"), ("dmarc", "pass")} <= set(verdicts(arrived)), verdicts(arrived)
    assert host.me.wait("SUBJECT", sent["Subject"])["List-Id"]


def test_an_owner_announces_and_a_member_does_not(host: Host):
    sent = message("second@bigmail.test", host.of("news"))
    submit(BIG, "second@bigmail.test", sent)
    assert SOMEONE.wait("SUBJECT", sent["Subject"])["From"].addresses[0].addr_spec == host.of("news")
    subject, code, _said = host.write(OPEN, host.of("news"))
    assert code == 250
    waiting(host, "news", subject)
    assert SOMEONE.search("SUBJECT", subject) == []


def waiting(host: Host, name: str, subject: str) -> None:
    """Wait until a post waits for a moderator."""
    end = time.monotonic() + PATIENCE
    while subject not in host.held(name):
        assert time.monotonic() < end, host.held(name)
        time.sleep(1)  # Mailman has no event to wait for


def test_mail_to_owners_reaches_a_human(host: Host):
    subject, code, said = host.write(OPEN, host.of("news-owner"))
    assert code == 250, said
    assert SECOND.wait("SUBJECT", subject)["From"].addresses[0].addr_spec == OPEN[0]
    subject, code, said = host.write(OPEN, host.of("talk-owner"))
    assert code == 250, said
    host.me.wait("SUBJECT", subject)


def test_an_alias_leads_to_a_list(host: Host):
    subject, code, said = host.write(OPEN, host.of("everybody"))
    assert code == 250, said
    waiting(host, "talk", subject)  # Mailman is not named in To


@pytest.mark.parametrize("name", ["talk-nonsense", "talk-ownerx", "bounces", "talk-admin", "news-talk"])
def test_what_no_list_has_is_refused(host: Host, name: str):
    assert host.write(OPEN, host.of(name))[1] == 550


@pytest.mark.parametrize("name", ["talk-request", "talk-subscribe", "TALK-Unsubscribe", "news-join", "board-join", "board-leave",
                                  "news-join+x=y"])  # fmt: skip
def test_commands_that_are_not_taken_are_refused(host: Host, name: str):
    _subject, code, said = host.write(OPEN, host.of(name))
    assert code == 550
    assert "Commands by mail are not taken here" in said


def test_commands_of_whoever_is_not_verified_are_refused(host: Host):
    """The envelope is of a domain that the address may send for, and From names a victim."""
    for name in ("talk-join", "talk-leave", "talk-confirm", "talk-confirm+0123456789abcdef"):
        sent = message("victim@example.net", host.of(name), "join\n")
        _subject, code, said = host.write(OPEN, host.of(name), sent)
        assert code // 100 == 5 and "Neither SPF nor DKIM passes for From" in said, (name, code, said)


def test_a_stranger_gets_no_answer_and_nobody_reads_it(host: Host):
    stranger = message("second@bigmail.test", host.of("talk"))
    submit(BIG, "second@bigmail.test", stranger)
    waiting(host, "talk", str(stranger["Subject"]))
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        for mailbox in (SOMEONE, SECOND, host.me):
            assert mailbox.search("TEXT", str(stranger["Subject"])) == []
        time.sleep(3)  # what must not come has no event


def test_what_the_filter_has_marked_waits(host: Host):
    """As the mail server hands it on."""
    sent = message(OPEN[0], host.of("talk"))
    sent["X-Spam"] = "Yes"
    program = f"import smtplib\nsmtplib.LMTP('127.0.0.1', 8024).sendmail('{OPEN[0]}', ['{host.of('talk')}'], {sent.as_bytes()!r})"
    host.run("python3 -", program)
    waiting(host, "talk", str(sent["Subject"]))


def test_a_post_to_a_public_list_is_in_its_archive_for_everybody(host: Host):
    subject, code, said = host.write(OPEN, host.of("talk"))
    assert code == 250, said
    Browser(host).wait(archive(host, "talk"), subject)
    where = urllib.parse.urlsplit(SOMEONE.wait("SUBJECT", subject)["Archived-At"].strip("<> "))
    assert (where.scheme, where.netloc) == ("https", f"lists.{host.domain}")
    assert Browser(host).sees(where.path, "Hello.")


def test_a_list_that_is_not_to_be_archived_is_not(host: Host):
    sent = message("second@bigmail.test", host.of("news"))
    submit(BIG, "second@bigmail.test", sent)
    SOMEONE.wait("SUBJECT", str(sent["Subject"]))
    status, page = Browser(host).ask(archive(host, "news"))
    assert str(sent["Subject"]) not in page and status == 404


def test_only_members_read_a_private_archive(host: Host):
    """An account is the administrator's to make; its address is proven by mail."""
    host.subscribe("board", host.me.user)
    sent = message(host.me.user, host.of("board"))
    host.submit(sent)
    subject, stranger = str(sent["Subject"]), Browser(host)
    host.me.wait("SUBJECT", subject)
    end = time.monotonic() + BOUND
    while time.monotonic() < end:  # HyperKitty asks Mailman in the background who may read a list that it has not met before
        assert not stranger.sees(archive(host, "board"), subject)
        time.sleep(0.5)
    password, member, user = uuid.uuid4().hex, Browser(host), f"u{uuid.uuid4().hex[:8]}"
    made = ("from django.contrib.auth.models import User\nUser.objects.all().delete()\n"
            f"User.objects.create_superuser({user!r}, {host.me.user!r}, {password!r})\n")  # fmt: skip
    host.run("runuser -u www-data -- python3 /usr/share/mailman3-web/manage.py shell", made)
    before = len(host.me.search("TEXT", "/accounts/confirm-email/"))
    assert member.fill_in("/accounts/login/", login=user, password=password) == (302, "/accounts/confirm-email/")
    link = re.search(r"https://\S+?(/accounts/confirm-email/\S+)", host.me.wait("TEXT", "/accounts/confirm-email/", beside=before)
                     .get_body(("plain",)).get_content())  # fmt: skip
    assert link and f"https://lists.{host.domain}/" in link[0]
    assert member.ask(link[1], {})[0] == 302
    assert member.fill_in("/accounts/login/", login=user, password=password)[0] == 302
    member.wait(archive(host, "board"), subject)
    for path in (archive(host, "board"), f"/hyperkitty/list/{host.of('board')}/", f"/hyperkitty/api/list/{host.of('board')}/emails/"):
        status, page = stranger.ask(path)
        assert subject not in page and status in (302, 403), (path, status, page)
    assert not stranger.sees(f"/hyperkitty/search?q={subject}", "Hello.")
    assert host.of("board") not in stranger.ask("/hyperkitty/")[1]


def test_a_stranger_has_no_mail_sent_to_anybody_by_the_web(host: Host):
    victim, told = SECOND.user, len(SECOND.search("FROM", f"@{host.domain}"))
    stranger = Browser(host)
    status, page = stranger.fill_in("/accounts/signup/", username="victim", email=victim, password1=PASSWORD, password2=PASSWORD)
    assert status == 200 and "closed" in page.lower()
    stranger.fill_in("/accounts/password/reset/", email=victim)
    for name in ("talk", "news", "board"):
        path = f"/postorius/lists/{name}.{host.domain}/anonymous_subscribe"
        assert stranger.fill_in(path, email=victim, display_name="")[0] == 403
        assert stranger.fill_in(path.replace("/lists/", "//lists/"), email=victim, display_name="")[0] in (403, 404)
        assert stranger.fill_in(f"/postorius/lists/{name}.{host.domain}/subscribe", subscriber=victim)[0] in (302, 403)
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        assert len(SECOND.search("FROM", f"@{host.domain}")) == told
        time.sleep(3)  # what must not come has no event


def test_passwords_of_the_web_interface_are_not_tried_at_will(host: Host):
    stranger = Browser(host)
    assert 429 in [stranger.ask("/accounts/login/")[0] for _ in range(60)]


def test_the_web_interface_answers_to_its_name_alone(host: Host):
    stranger = Browser(host)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        stranger.ask("/postorius/lists/", headers={"Host": "elsewhere.example"})
    status, page = stranger.ask("/", headers={"X-Forwarded-Host": "elsewhere.example"})
    assert status == 301 and "elsewhere" not in page
    with machine.inside_network(), pytest.raises(OSError):
        socket.create_connection((host.address, 80), timeout=5)


def test_only_mailman_hands_posts_to_the_archive(host: Host):
    stranger = Browser(host)
    for path in ("/hyperkitty/api/mailman/archive", "/hyperkitty//api/mailman/urls?mlist=x", "/hyperkitty/%61pi/mailman/urls?mlist=x"):
        assert stranger.ask(path)[0] == 404
    program = "import sys, urllib.request\ntry: print(urllib.request.urlopen(sys.argv[1]).status)\nexcept OSError as exc: print(exc.code)\n"
    url = f"http://127.0.0.1:8025/hyperkitty/api/mailman/urls?mlist={host.of('talk')}"
    assert host.run(f"python3 - '{url}'", program).strip() == "401"
    assert host.run("python3 - http://127.0.0.1:8025/postorius/lists/", program).strip() == "404"


def test_a_member_leaves_by_the_address_in_list_unsubscribe(host: Host):
    """It takes a confirmation: whoever a message is from."""
    assert BIGMAIL["user"] in host.members("talk")
    question = ("HEADER", "From", "talk-confirm+", "TEXT", host.domain)
    before = len(SOMEONE.search(*question))
    submit(BIG, BIGMAIL["user"], message(BIGMAIL["user"], host.of("talk-leave")))
    asked = SOMEONE.wait(*question, beside=before)
    assert BIGMAIL["user"] in host.members("talk")
    answer = message(BIGMAIL["user"], asked["From"].addresses[0].addr_spec)
    answer.replace_header("Subject", f"Re: {asked['Subject']}")
    submit(BIG, BIGMAIL["user"], answer)
    end = time.monotonic() + PATIENCE
    while BIGMAIL["user"] in host.members("talk"):
        assert time.monotonic() < end
        time.sleep(1)  # Mailman has no event to wait for


def test_other_programs_do_not_send_as_a_list(host: Host):
    if "OpenSMTPD" in host.run("cat /etc/smtpd.conf 2>/dev/null && echo OpenSMTPD || true"):
        pytest.skip("smtpd does not say which account a message is from")
    command = f"su -s /bin/sh nobody -c 'sendmail -f {host.of('talk-bounces')} {BIGMAIL['user']}'; echo $?"
    assert host.run(command, "Subject: as a list\n\n.\n").split()[-1] != "0"


def test_what_is_not_declared_stays_and_is_reported(host: Host):
    host.rest("POST", "lists", {"fqdn_listname": host.of("old")})
    before = host.rest("GET", f"lists/old.{host.domain}/config")
    said = host.site("--tags", "mailman")
    assert f"Not in mail_lists: {host.of('old')}" in said and "changed=0 " in said, said[-3000:]
    assert host.rest("GET", f"lists/old.{host.domain}/config") == before
    assert host.members("talk")


def test_the_secrets_of_mailman_and_its_web_interface_are_in_no_log(host: Host):
    said = host.site("--tags", "mailman", "-vvv", "--diff")
    found = host.run("cd /etc/mailman3; sed -n 's/^admin_pass: *//p' mailman.cfg; sed -n 's/^api_key: *//p' mailman-hyperkitty.cfg; "
                     "sed -n \"s/^SECRET_KEY = '\\(.*\\)'/\\1/p\" mailman-web.py").split()  # fmt: skip
    assert len(found) == 3
    for secret in found:
        assert len(secret) > 8 and secret not in said
        assert host.run(f"journalctl --no-pager | grep -cF -- '{secret}' || true").strip() == "0"
        assert host.run(f"grep -rlF -- '{secret}' /var/log || true").strip() == ""


def test_without_its_variable_the_web_interface_is_disabled_and_the_archive_stays(host: Host):
    """It comes back with all that it had, and so the tests that follow find it."""
    subject, code, said = host.write(OPEN, host.of("talk"))
    assert code == 250, said
    Browser(host).wait(archive(host, "talk"), subject)
    without = json.dumps({"mail_lists_web": "", "mail_lists": {host.of("talk"): {"owners": [host.me.user], "commands": ["join", "leave"]}}})
    for changes in (True, False):
        said = host.site("--tags", "mailman", "--extra-vars", without)
        assert ("changed=0 " not in said) is changes, said[-3000:]
    with pytest.raises(OSError):
        Browser(host).ask("/")
    assert host.run("systemctl is-active mailman3-web || true").strip() == "inactive"
    host.site("--tags", "mailman")
    Browser(host).wait(archive(host, "talk"), subject)
