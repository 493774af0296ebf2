# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that somebody set up by hand, after playbooks/site.yml: what is kept, and what later runs take away and refuse.

verify.yml runs this, inside the test network, with what it needs to know in the environment variable TAKEOVER. The tests
build on each other, in the order of this file: each chapter begins with a run of the playbook.
"""

from __future__ import annotations

import contextlib
import email.utils
import imaplib
import json
import os
import pathlib
import re
import smtplib
import socket
import ssl
import subprocess
import time
import uuid

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BY_HAND = HERE / "files/etc"
LAB = json.loads(os.environ["TAKEOVER"])
HOST, IPV4 = LAB["host"], LAB["ipv4"]
OLD, GONE, TWO = LAB["users"]
DOCUMENTED = (HERE.parent.parent / "docs/taking-over.md").read_text()
SITE = str(HERE.parent.parent / "playbooks/site.yml")
#: What must not change when a run is refused.
STATE = (
    "find /etc /var/lib/postmaster-mail /var/vmail -xdev ! -path '/etc/ufw/*' -printf '%p %s %m %U %G %T@ %l\\n'"
    " | sort | sha256sum; dpkg-query -W -f '${Package} ${Version} ${Status}\\n' | sha256sum"
)
SSH = [
    "ssh", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ControlMaster=auto",
    "-o", "ControlPath=/run/postmaster-mail-takeover-%C", "-o", "ControlPersist=30", "-i", LAB["ssh_key"], f"root@{IPV4}",
]


def on_host(command: str, check: bool = True) -> str:
    done = subprocess.run([*SSH, command], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Run:
    """One run of the site playbook: its output, its exit status, and the tasks that changed something."""

    def __init__(self, *options: str, **variables: object) -> None:
        command = ["ansible-playbook", *(f"--inventory={source}" for source in LAB["inventories"]), "--limit", HOST, SITE, *options]
        if variables:
            command += ["--extra-vars", json.dumps(variables)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
        self.status, self.output = done.returncode, done.stdout + done.stderr
        self.changed = re.findall(r"TASK \[(.*?)\] \*+\n(?:(?!TASK|RUNNING).*\n)*?changed: ", done.stdout)
        # Long messages are wrapped; what is looked for is not.
        self.words = " ".join(self.output.split())

    def ok(self) -> Run:
        assert self.status == 0, self.output[-6000:]
        return self


# --- Speaking to the server ---

ANYTHING = ssl.create_default_context()
ANYTHING.check_hostname = False
ANYTHING.verify_mode = ssl.CERT_NONE


@contextlib.contextmanager
def imap(user: str, host: str = IPV4, password: str | None = None):
    session = imaplib.IMAP4_SSL(host, 993, ssl_context=ANYTHING, timeout=120)
    try:
        session.login(user, LAB["passwords"].get(user, "") if password is None else password)
        yield session
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            session.logout()


def subjects(session: imaplib.IMAP4, folder: str = "INBOX") -> dict[str, str]:
    """Return the flags of the messages in a folder, by subject."""
    status, _count = session.select(folder, readonly=True)
    assert status == "OK", folder
    _status, data = session.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    found = {}
    for part in data:
        if isinstance(part, tuple):
            subject = part[1].decode().partition(":")[2].strip()
            found[subject] = " ".join(sorted(set(re.search(r"FLAGS \((.*?)\)", part[0].decode())[1].split()) - {"\\Recent"}))
    return found


def fetch(session: imaplib.IMAP4, message_id: str, within: float = 240) -> str:
    """Wait for a message and return it."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        session.select("INBOX", readonly=True)
        _status, found = session.search(None, "HEADER", "Message-ID", message_id)
        if found[0]:
            return session.fetch(found[0].split()[-1].decode(), "(BODY.PEEK[])")[1][0][1].decode()
        time.sleep(0.3)  # IMAP without IDLE has no event to wait for
    raise AssertionError(f"{message_id} has not arrived")


def submit(user: str, recipient: str) -> str:
    """Send a message as a user does, again where the server says "later"; return its Message-ID."""
    message_id = f"<{uuid.uuid4().hex}@{user.partition('@')[2]}>"
    headers = {"From": user, "To": recipient, "Date": email.utils.formatdate(), "Message-ID": message_id, "Subject": "x"}
    end = time.monotonic() + 240
    while True:
        try:
            with smtplib.SMTP(IPV4, 587, "client.test", timeout=120) as session:
                session.starttls(context=ANYTHING)
                session.login(user, LAB["passwords"][user])
                session.sendmail(user, [recipient], "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\nx\r\n")
            return message_id
        except smtplib.SMTPResponseException as exc:
            if exc.smtp_code >= 500 or time.monotonic() > end:
                raise
        time.sleep(0.5)  # the filter is being restarted


def received(user: str, recipient: str = OLD) -> str:
    """Send a message to a mailbox of the server and return it as it arrived."""
    message_id = submit(user, recipient)
    with imap(recipient) as session:
        return fetch(session, message_id)


def recipient_reply(recipient: str) -> tuple[int, str]:
    with smtplib.SMTP(IPV4, 25, "client.test", timeout=120) as session:
        session.ehlo()
        session.mail("friend@client.test")
        code, reply = session.rcpt(recipient)
        return code, reply.decode()


def signature(message: str) -> dict[str, str]:
    """Return the tags of our DKIM signature, or nothing."""
    header = message.replace("\r\n", "\n").partition("\n\n")[0].replace("\n\t", " ").replace("\n ", " ")
    found = re.search(r"^DKIM-Signature: (.*)$", header, re.MULTILINE)
    return dict(part.strip().split("=", 1) for part in found[1].rstrip("; ").split(";")) if found else {}


def served(port: int = 993) -> bytes:
    """Return the certificate that a port shows, in DER."""
    with socket.create_connection((IPV4, port), timeout=120) as plain, ANYTHING.wrap_socket(plain) as tls:
        return tls.getpeercert(binary_form=True)


def trusts(root: str, port: int = 465) -> bool:
    """Whether the certificate on a port chains to these roots and names the host."""
    context = ssl.create_default_context(cadata=root)
    try:
        with socket.create_connection((IPV4, port), timeout=120) as plain, context.wrap_socket(plain, server_hostname=HOST):
            return True
    except ssl.SSLCertVerificationError:
        return False


def public_key(path: str) -> str:
    return on_host(f"openssl pkey -in {path} -pubout")


# --- Speaking to the DNS ---


def ask(name: str, kind: str) -> list[str]:
    """Return what the name server says, in the form of a zone file."""
    done = subprocess.run(
        ["dig", "+short", f"@{LAB['nameserver']}", name, kind], capture_output=True, text=True, check=True, timeout=120
    )
    return sorted(done.stdout.splitlines())


def update(zone: str, lines: list[str], key: str = "key") -> None:
    """Send lines of nsupdate."""
    tsig = LAB[key]
    text = "\n".join([f"server {LAB['nameserver']}", f"zone {zone}", *lines, "send", ""])
    secret = f"{tsig['algorithm']}:{tsig['name']}:{tsig['secret']}"
    subprocess.run(["nsupdate", "-y", secret], input=text, text=True, check=True, timeout=30)


# --- 1. What somebody had set up by hand ---

REPLACED = ["postfix/main.cf", "postfix/master.cf", "dovecot/dovecot.conf", "dovecot/users", "mailname", "rspamd/local.d/actions.conf"]
KEPT = sorted({str(path.relative_to(BY_HAND)) for path in BY_HAND.rglob("*") if path.is_file()} - {*REPLACED, "hosts"})


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The digests of all files that were written by hand, as they are now, by path."""
    paths = [f"/etc/{path}" for path in KEPT] + [f"/etc/{path}{end}" for path in REPLACED for end in ("", ".postmaster-orig")]
    return dict(reversed(line.split("  ", 1)) for line in on_host("sha256sum " + " ".join(paths)).splitlines())


def digest(path: str) -> str:
    return subprocess.run(["sha256sum", str(BY_HAND / path)], capture_output=True, text=True, check=True).stdout.split()[0]


@pytest.mark.parametrize("path", REPLACED)
def test_a_file_that_is_replaced_is_kept_beside_ours(files, path):
    assert files[f"/etc/{path}.postmaster-orig"] == digest(path)
    assert files[f"/etc/{path}"] != digest(path)


@pytest.mark.parametrize("path", KEPT)
def test_a_file_that_is_not_ours_stays(files, path):
    assert files[f"/etc/{path}"] == digest(path)


def test_passwords_beside_ours_stay_secret():
    assert on_host("stat -c '%a' /etc/dovecot/users.postmaster-orig").strip() in ("400", "600")


def test_mail_keys_and_certificate_are_as_they_were():
    """Byte for byte, but for what reading changes: Dovecot's indexes, and mail that is no longer new."""
    before = dict(reversed(line.split("  ", 1)) for line in on_host("cat /root/by-hand").splitlines())
    after = on_host("find /etc/opendkim* /etc/ssl/hand /var/vmail -type f -exec sha256sum {} +")
    mail = {path: value for path, value in before.items() if "/cur/" in path or path.startswith(("/etc/opendkim", "/etc/ssl/hand"))}
    assert len(mail) > 12
    now = dict(reversed(line.split("  ", 1)) for line in after.splitlines())
    assert {path: now.get(path) for path in mail} == mail


def test_the_resolver_is_ours_now_and_stays_it():
    assert "nameserver 127.0.0.53" in on_host("cat /etc/resolv.conf.postmaster-orig")
    assert on_host("test ! -L /etc/resolv.conf && sed 1d /etc/resolv.conf") == "nameserver 127.0.0.1\noptions edns0 trust-ad\n"
    on_host("systemctl restart systemd-resolved")
    assert on_host("systemctl is-active systemd-resolved", check=False).strip() == "inactive"
    assert on_host("getent ahostsv4 mx.bigmail.test").split()[0] == LAB["bigmail"].get("address", "198.51.100.10")


def test_etc_hosts_keeps_its_other_lines():
    before, after = (BY_HAND / "hosts").read_text().splitlines(), on_host("cat /etc/hosts").splitlines()
    assert [line for line in after if line not in before] == [f"127.0.1.1 {HOST} {HOST.split('.')[0]}"]
    assert [line for line in before if line not in after] == ["127.0.1.1 cloud-41.provider.example cloud-41"]
    assert on_host("hostname -f").strip() == HOST


def test_dpkg_had_a_question_and_asked_nobody():
    log = on_host("cat /var/log/apt/term.log")
    question = log.partition("Configuration file '/etc/unbound/unbound.conf'")[2][:300]
    assert "File on system created by you or by a script" in question
    assert "Keeping old config file as default" in question
    assert on_host("dpkg --audit") == ""


@pytest.mark.parametrize(
    ("user", "folder", "expected"),
    [
        (OLD, "INBOX", {"first": "\\Flagged \\Seen", "second": "\\Seen"}),
        (OLD, "Letters", {"fourth": "\\Answered \\Seen"}),
        (GONE, "INBOX", {"fifth": "\\Seen"}),
        (TWO, "INBOX", {"sixth": "\\Seen"}),
    ],
)
def test_mail_is_read_where_it_was(user, folder, expected):
    with imap(user) as session:
        found = subjects(session, folder)
    assert {subject: flags for subject, flags in found.items() if subject in expected} == expected


def test_clients_need_not_fetch_their_mail_again():
    """UIDVALIDITY is what it was (RFC 9051 section 2.3.1.1)."""
    numbers = dict(re.findall(r"^(INBOX|Letters) .*uidvalidity=(\d+)", on_host("cat /etc/ssl/hand/status"), re.MULTILINE))
    assert set(numbers) == {"INBOX", "Letters"}
    with imap(OLD) as session:
        for folder, number in numbers.items():
            assert f"UIDVALIDITY {number}" in session.status(folder, "(UIDVALIDITY)")[1][0].decode()


def test_the_old_password_is_void():
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"), imap(OLD, password="old-password"):
        pass


def test_what_waited_in_the_queue_arrives():
    on_host("postqueue -f")
    with imap(OLD) as session:
        assert "Subject: waiting" in fetch(session, "<waiting@hand>")


def test_a_mailbox_from_elsewhere_is_brought_in():
    """By the commands in docs/taking-over.md."""
    commands = re.search(r"((?:^    .*\n)*^    doveadm import.*\n(?:^    .*\n)*)", DOCUMENTED, re.MULTILINE)[1]
    on_host("set -eu\n" + commands.replace("me@example.org", GONE).replace("/home/me/Maildir", "/home/moved/Maildir"))
    with imap(GONE) as session:
        assert subjects(session) == {"fifth": "\\Seen", "seventh": "\\Flagged \\Seen"}
        assert subjects(session, "Letters") == {"eighth": "\\Seen"}


@pytest.mark.parametrize(("user", "selector"), [(OLD, "mail"), (TWO, "old")])
def test_the_old_key_signs_under_its_old_name(user, selector):
    """Also the one of 1024 bits; the strict receiver says whether the record that was there all the time fits."""
    domain = user.partition("@")[2]
    message_id = submit(user, LAB["bigmail"]["user"])
    with imap(LAB["bigmail"]["user"], "mx.bigmail.test", LAB["bigmail"]["password"]) as session:
        message = fetch(session, message_id)
    assert (signature(message)["d"], signature(message)["s"]) == (domain, selector)
    results = " ".join(re.findall(r"^Authentication-Results: (?:.*\n[ \t])*.*", message.replace("\r", ""), re.MULTILINE))
    assert re.search(r"dkim=pass", results), message[:2000]
    assert re.search(r"dmarc=pass", results), message[:2000]
    hand = f"/etc/opendkim/keys/{domain}/{selector}"
    assert public_key(f"{hand}.private") == public_key(f"/var/lib/postmaster-mail/dkim/{domain}.{selector}.key")
    # The record is word for word what the key's maker wrote.
    assert ask(f"{selector}._domainkey.{domain}", "TXT") == [" ".join(re.findall(r'"[^"]*"', on_host(f"cat {hand}.txt")))]


def test_spf_is_replaced_and_others_survive():
    assert ask("takeover.test", "TXT") == [
        '"google-site-verification=Zm9yIHRoZSB0ZXN0IG9ubHk"',
        f'"v=spf1 ip4:{IPV4} ip6:{LAB["ipv6"]} ~all"',
    ]
    assert ask("_dmarc.takeover.test", "TXT") == ['"v=DMARC1; p=quarantine; rua=mailto:postmaster@takeover.test"']


@pytest.mark.parametrize("port", [25, 465, 587, 993, 4190])
def test_ports_are_open_in_the_firewall(port):
    for address in (IPV4, LAB["ipv6"]):
        socket.create_connection((address, port), timeout=60).close()


def test_the_firewall_keeps_what_it_was_told():
    rules = on_host("ufw status")
    assert re.search(r"^143/tcp +ALLOW +198\.51\.100\.0/24", rules, re.MULTILINE)
    assert not re.search(r"^143/tcp +ALLOW +Anywhere", rules, re.MULTILINE)
    with pytest.raises(OSError, match="timed out"):
        socket.create_connection((LAB["ipv6"], 143), timeout=1)
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((IPV4, 2525), timeout=1)


def test_the_certificate_is_their_own():
    root = on_host("cat /etc/ssl/hand/ca.pem")
    assert [port for port in (465, 993) if not trusts(root, port)] == []
    directory = "/etc/ssl/postmaster-mail"
    assert on_host(f"cmp {directory}/{HOST}.key /etc/ssl/hand/mail.key && stat -c '%a %U %G' {directory}/{HOST}.key") == "600 root root\n"
    for user in ("vmail", "postfix", "dovecot", "_rspamd", "nobody"):
        said = on_host(f"setpriv --reuid={user} --clear-groups cat {directory}/{HOST}.key 2>&1", check=False)
        assert said.endswith("Permission denied\n")


# --- 2. What is refused, before the first change ---

MISTAKES = {
    "mail_user": {},
    "mail_mta": "exim",
    "mail_addresses": ["10.1.2.3"],
    "mail_limits": {"per_hour": 10},
    "mail_domains": {"takeover.test": {"dkin": True}, "spf.test": {"spf": {"terms": [f"include:s{n}.example.org" for n in range(11)]}}},
    "mail_users": {OLD: {"password_hash": "$6$rounds=5000$salt$hash"}, "me@elsewhere.test": LAB["users"][OLD]},
    "mail_aliases": {
        "a@takeover.test": ["b@takeover.test"],
        "b@takeover.test": ["a@takeover.test"],
        "c@takeover.test": ["nobody@takeover.test"],
    },
    "mail_certificates": {"method": "acme-dns"},
    "mail_dns": {"backend": "report"},
    "postfix_message_size_limit": "a lot",
    "certificate_dns_wait": "long",
    "resolver_forwarders": ["nonsense"],
}
#: What is said of each.
SAID = [
    "mail_user is not a variable of this collection (did you mean users?)",
    "mail_mta 'exim' is unknown; it is one of ",
    "mail_addresses '10.1.2.3' is not public (private, RFC 1918): other mail servers cannot reach it. Set mail_addresses to ",
    "mail_limits has no key 'per_hour' (did you mean 'hour'?); it knows hour, day, lock",
    "mail_domains['takeover.test'] has no key 'dkin' (did you mean 'dkim'?); it knows ",
    "mail_domains['spf.test'].spf: ",
    "mail_users['old@takeover.test'].password_hash is not a bcrypt hash ($2b$, two digits of cost, 53 characters), nor one of ",
    "mail_users['me@elsewhere.test'] is in a domain that mail_domains does not declare",
    "mail_aliases has a loop: a@takeover.test -> b@takeover.test -> a@takeover.test",
    "mail_aliases['c@takeover.test'] leads to 'nobody@takeover.test', which is neither a user nor an alias",
    "mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' to answer the challenge (RFC 8555 section 8.4)",
    "postfix_message_size_limit must be of type int, not 'a lot'",
    "certificate_dns_wait must be of type int, not 'long'",
    "resolver_forwarders 'nonsense' is not of the form ADDRESS[@PORT][#NAME FOR TLS]",
]


@pytest.fixture(scope="module")
def refused() -> tuple[Run, str, str]:
    before = on_host(STATE)
    return Run(**MISTAKES), before, on_host(STATE)


def test_mistakes_stop_the_run_before_the_first_change(refused):
    run, before, after = refused
    assert run.status != 0
    assert run.changed == []
    assert before == after
    assert "Identity |" not in run.output


@pytest.mark.parametrize("text", SAID)
def test_all_mistakes_are_told_together(refused, text):
    assert text in refused[0].words, refused[0].output[-5000:]


def test_no_refusal_shows_a_password_hash(refused):
    assert "$6$rounds" not in refused[0].output
    assert LAB["users"][OLD]["password_hash"] not in refused[0].output


def test_others_who_may_send_are_not_dropped_unless_that_is_said():
    """As a first run finds the record of somebody whose newsletters are sent by a service."""
    zone, ours = "takeover.test", ask("takeover.test", "TXT")
    old = "v=spf1 mx a include:spf.example.net -all"
    update(zone, [f"update delete {zone} TXT", f'update add {zone} 10 TXT "{old}"', f'update delete _dmarc.{zone} TXT',
                  f'update add _dmarc.{zone} 10 TXT "v=DMARC1; p=none"'])
    for options in (["--check"], []):
        run = Run("--tags", "dns", *options)
        assert run.status != 0
        said = f"{zone}: the SPF record '{old}' lets others send, by 'include:spf.example.net';"
        assert said in run.words and "nothing has been changed" in run.words, run.output[-3000:]
    assert ask(zone, "TXT") == [f'"{old}"']
    told = {zone: {"spf": {"terms": ["include:spf.example.net"], "drop": ["a"]}}, "second.test": {}}
    run = Run("--tags", "dns", mail_domains=told).ok()
    assert "the policy 'none' becomes 'quarantine'" in run.words
    assert ask(zone, "TXT") == [f'"v=spf1 ip4:{IPV4} ip6:{LAB["ipv6"]} include:spf.example.net ~all"']
    update(zone, [f"update delete {zone} TXT", *(f"update add {zone} 10 TXT {value}" for value in ours)])


def test_a_private_address_of_its_own_is_not_believed():
    before = on_host(STATE)
    on_host("ip address add 10.9.9.9/24 dev host0 && ip route change default via 198.51.100.1 dev host0 onlink src 10.9.9.9")
    try:
        run = Run()
    finally:
        on_host("ip route change default via 198.51.100.1 dev host0 onlink && ip address del 10.9.9.9/24 dev host0")
    assert run.status != 0
    told = "mail_addresses '10.9.9.9' is not public (private, RFC 1918): other mail servers cannot reach it. Set mail_addresses"
    assert told in run.words, run.output[-3000:]
    assert on_host(STATE) == before


def test_a_name_that_the_world_does_not_believe_stops_the_run():
    reverse = ".".join(reversed(IPV4.split("."))) + ".in-addr.arpa."
    zone = reverse.partition(".")[2]
    before = on_host(STATE)
    update(zone, [f"update delete {reverse} PTR", f"update add {reverse} 10 PTR customer-41.provider.example."], "reverse_key")
    try:
        run = Run()
        warned = Run("--tags=identity", identity_preflight="warn").ok()
        silent = Run("--tags=identity", identity_preflight="skip").ok()
    finally:
        update(zone, [f"update delete {reverse} PTR", f"update add {reverse} 10 PTR {HOST}."], "reverse_key")
    assert run.status != 0
    assert "customer-41.provider.example" in run.words
    assert "customer-41.provider.example" in warned.words
    assert "customer-41.provider.example" not in silent.words
    assert run.changed == []
    assert on_host(STATE) == before


# --- 3. Users and a domain are taken away, the certificate becomes a self-signed one ---


MAIL_LEFT = "cd /var/vmail && find takeover.test/gone second.test -path '*/cur/*' -type f -exec sha256sum {} + | sort"


@pytest.fixture(scope="module")
def mail_before() -> str:
    return on_host(MAIL_LEFT)


@pytest.fixture(scope="module")
def taken_away(mail_before) -> tuple[Run, imaplib.IMAP4]:
    session = imaplib.IMAP4_SSL(IPV4, 993, ssl_context=ANYTHING, timeout=120)
    session.login(GONE, LAB["passwords"][GONE])
    assert session.noop()[0] == "OK"
    run = Run(mail_domains={"takeover.test": {}}, mail_users={OLD: LAB["users"][OLD]}, mail_certificates={"method": "self-signed"})
    return run.ok(), session


@pytest.mark.parametrize("user", [GONE, TWO])
def test_a_user_who_was_taken_away_does_not_get_in(taken_away, user):
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"), imap(user):
        pass
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submit(user, OLD)


def test_an_open_session_of_such_a_user_is_closed(taken_away):
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        taken_away[1].noop()


def test_mail_to_such_a_user_is_refused(taken_away):
    assert recipient_reply(GONE)[0] == 550
    code, reply = recipient_reply(TWO)
    assert (code // 100, "Relay access denied" in reply) == (5, True)
    assert recipient_reply(OLD)[0] == 250


def test_the_mail_of_such_users_stays(taken_away, mail_before):
    assert len(mail_before.splitlines()) >= 4
    assert on_host(MAIL_LEFT) == mail_before
    on_host("test -s /var/lib/postmaster-mail/dkim/second.test.old.key")


def test_a_self_signed_certificate_takes_the_place_of_another(taken_away):
    shown = served()
    own = ssl.DER_cert_to_PEM_cert(shown)
    assert trusts(own)
    assert shown == served(465)
    assert not trusts(on_host("cat /etc/ssl/hand/ca.pem"))


# --- 4. All come back, while the records are published by hand; the certificate becomes that of an authority ---


@pytest.fixture(scope="module")
def came_back(taken_away, tmp_path_factory) -> tuple[Run, pathlib.Path]:
    report = tmp_path_factory.mktemp("report") / "records.zone"
    update("second.test", ["update delete second.test MX", "update delete second.test TXT", "update delete old._domainkey.second.test TXT"])
    # The authority looks at port 80: it must be open before it is asked.
    on_host("ufw delete allow 80/tcp")
    run = Run(mail_dns={"backend": "report"}, mail_certificates=LAB["acme"], dns_report_file=str(report)).ok()
    return run, report


def test_who_comes_back_finds_the_mail(came_back):
    with imap(GONE) as session:
        assert set(subjects(session)) == {"fifth", "seventh"}
    assert recipient_reply(GONE)[0] == 250
    assert recipient_reply(TWO)[0] == 250


def test_without_credentials_the_records_are_told_and_nothing_is_signed_yet(came_back):
    run, report = came_back
    assert "Not signing yet for second.test: " in run.words
    assert "old._domainkey.second.test. 3600 IN TXT" in run.words
    assert "mail._domainkey.takeover.test" not in run.words.partition("Not signing yet")[2]
    assert ask("second.test", "MX") == []
    names = {line.split()[0] for line in report.read_text().splitlines() if not line.startswith(";")}
    assert {f"{name}second.test." for name in ("", "_dmarc.", "old._domainkey.")} <= names
    assert {"takeover.test.", "mail._domainkey.takeover.test."} <= names
    assert signature(received(TWO)) == {}
    assert signature(received(OLD))["s"] == "mail"


def test_the_report_is_a_zone_file(came_back, tmp_path):
    lines = [line for line in came_back[1].read_text().splitlines() if "second.test" in line.split(" ")[0] and not line.startswith(";")]
    zone = tmp_path / "second.test"
    zone.write_text("$TTL 60\n@ SOA ns.test. x. 1 1 1 1 1\n@ NS ns.test.\n" + "\n".join(lines) + "\n")
    done = subprocess.run(["named-checkzone", "second.test", str(zone)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_once_the_records_are_published_the_next_run_signs(came_back):
    lines = [line for line in came_back[1].read_text().splitlines() if not line.startswith(";")]
    update("second.test", [f"update add {line}" for line in lines if re.match(r"(\S+\.)?second\.test\. ", line)])
    run = Run("--tags", "signing", mail_dns={"backend": "report"}, dns_report_file="").ok()
    assert "Not signing yet" not in run.words
    found = signature(received(TWO))
    assert (found.get("d"), found.get("s")) == ("second.test", "old")


ZONE = """; Kept by hand
$TTL 1h
@       SOA     ns.test. hostmaster.second.test. ( 2020010101 1h 15m 30d 5m ) ; the serial counts
        NS      ns.test.
@       TXT     "v=spf1 mx -all"   ; from the old days
@       TXT     "google-site-verification=second"
www     A       192.0.2.80
"""


def test_zone_files_on_the_server_are_edited(came_back, tmp_path):
    """Where a zone is kept in a file: what is ours changes, all else stays as it was written, and the serial grows."""
    on_host("DEBIAN_FRONTEND=noninteractive apt-get -qq install python3-dnspython bind9-utils >/dev/null && mkdir -p /srv/zones")
    for zone in ("second.test", "takeover.test"):
        on_host(f"cat >/srv/zones/{zone} <<'END'\n{ZONE.replace('second.test', zone)}END")
    given = {"backend": "zone_file", "zone_file": "/srv/zones/{zone}", "reload": ["touch", "/srv/zones/loaded"], "wait": 1}
    Run("--tags", "dns", mail_dns=given).ok()
    on_host("test -e /srv/zones/loaded")
    text = on_host("cat /srv/zones/second.test")
    (tmp_path / "zone").write_text(text)
    done = subprocess.run(["named-checkzone", "-D", "second.test", str(tmp_path / "zone")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    records = [line.split(None, 4) for line in done.stdout.splitlines() if " IN " in " ".join(line.split())]
    assert [data for name, _ttl, _class, kind, data in records if (name, kind) == ("second.test.", "TXT") and "spf1" in data] == [
        f'"v=spf1 ip4:{IPV4} ip6:{LAB["ipv6"]} ~all"'
    ]
    assert {(name, kind) for name, _ttl, _class, kind, _data in records} >= {
        ("second.test.", "MX"), ("_dmarc.second.test.", "TXT"), ("old._domainkey.second.test.", "TXT"), ("www.second.test.", "A"),
    }
    assert "2020010101" not in text
    kept = [line for line in ZONE.splitlines() if "SOA" not in line and "spf1" not in line]
    assert [line for line in kept if line not in text.splitlines()] == []
    on_host("rm /srv/zones/loaded")
    assert Run("--tags", "dns", mail_dns=given).ok().changed == []
    on_host("test ! -e /srv/zones/loaded")


def acme_root() -> str:
    return pathlib.Path(LAB["acme_root"]).read_text()


def renew() -> None:
    on_host("REQUESTS_CA_BUNDLE=/etc/postmaster-mail/acme-ca.pem certbot renew --force-renewal --quiet --no-random-sleep-on-renew")


def key_of(certificate: bytes) -> str:
    pem = ssl.DER_cert_to_PEM_cert(certificate)
    return subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem, capture_output=True, text=True, check=True).stdout


def test_the_authority_issues_over_http(came_back):
    assert trusts(acme_root())
    assert served() == served(465)
    assert "Status: active" in on_host("ufw status")


def test_a_renewal_keeps_the_key(came_back):
    before = served()
    renew()
    after = served()
    assert before != after
    assert key_of(before) == key_of(after)


def test_the_authority_issues_over_dns(came_back):
    """Also while port 80 is closed, and so does the renewal."""
    before = served()
    # The name server shows an update at once.
    over_dns = {"mail_certificates": {**LAB["acme"], "method": "acme-dns"}, "certificate_dns_wait": 1}
    on_host("ufw deny 80/tcp")
    try:
        run = Run("--tags", "certificate", **over_dns).ok()
        assert run.changed
        issued = served()
        assert issued != before
        assert trusts(acme_root())
        assert key_of(issued) == key_of(before)
        renew()
        assert served() != issued
        assert key_of(served()) == key_of(before)
    finally:
        on_host("ufw delete deny 80/tcp; ufw allow 80/tcp")
    assert on_host("stat -c '%a %U' /etc/postmaster-mail/certbot-rfc2136.ini").split() == ["600", "root"]
    assert Run("--tags", "certificate", **over_dns).ok().changed == []


def test_their_own_certificate_comes_back(came_back):
    Run("--tags", "certificate").ok()
    assert trusts(on_host("cat /etc/ssl/hand/ca.pem"))
    # What the authority had issued is no longer renewed, which would fail by now.
    on_host("certbot renew --no-random-sleep-on-renew")
    on_host("test ! -e /etc/postmaster-mail/certbot-rfc2136.ini")


# --- 5. Another mail server had the port, and parts of the playbook alone ---


def test_debians_default_mail_server_makes_room(came_back):
    """As on a bare Debian, where Exim runs: installed here, it drives Postfix out."""
    on_host("DEBIAN_FRONTEND=noninteractive apt-get -qq install exim4-daemon-light >/dev/null 2>&1")
    end = time.monotonic() + 240
    while "exim" not in (listening := on_host("ss -lntpH 'sport = 25'")) and time.monotonic() < end:
        time.sleep(0.5)  # Exim is started by a script that ends before it listens
    assert "exim" in listening
    Run("--tags", "postfix").ok()
    assert "exim" not in on_host("ss -lntpH 'sport = 25'; pgrep -l exim || true")
    assert on_host("dpkg-query -W -f '${db:Status-Abbrev}' exim4-daemon-light").strip() in ("rc", "un")
    received(TWO)


#: Tag to the roles that it reaches; every one reaches the look at the host.
TAGS = {
    "identity": {"identity"},
    "resolver": {"resolver"},
    "firewall": {"protection"},
    "certificate": {"certificate"},
    # Like that of an MTA, the role of the filter is included: a list shows that it is reached, and not its tasks.
    "rspamd": set(),
    "dkim": {"dkim"},
    "dns": {"dkim", "dns"},
    "signing": {"dkim", "dns"},
    "dovecot": {"dovecot"},
    "protection": {"protection"},
    "postfix": set(),
    "mta": set(),
}


@pytest.fixture(scope="module")
def listed() -> list[tuple[str, set[str]]]:
    """Every task of the playbook, with its tags."""
    found = re.findall(r"^ {6}(.*)\tTAGS: \[(.*)\]$", Run("--list-tasks").ok().output, re.MULTILINE)
    return [(task, set(tags.split(", "))) for task, tags in found]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_reaches_its_roles_and_the_check_of_the_inventory(listed, tag):
    reached = [task for task, tags in listed if tags & {tag, "always"}]
    assert {found[1] for task in reached if (found := re.match(r"postmaster\.mail\.(\w+) : ", task))} == TAGS[tag] | {"host"}
    assert "Inventory | Check names, types and agreement of all variables" in reached
    assert ("Postfix | Set up the MTA" in reached) == (tag in ("postfix", "mta"))
    assert ("Rspamd | Set up the filter" in reached) == (tag in ("rspamd", "signing"))


def test_a_service_that_was_stopped_or_disabled_runs_again_and_lasts(came_back):
    on_host("systemctl stop postfix unbound && systemctl disable dovecot fail2ban")
    changed = Run().ok().changed
    assert sorted(name.partition(" : ")[0].rpartition(".")[2] for name in changed) == ["dovecot", "postfix", "protection", "resolver"]
    assert all(" : Service | " in name for name in changed)
    services = "postfix unbound dovecot fail2ban rspamd"
    assert on_host(f"systemctl is-active {services}").split() == ["active"] * 5
    assert on_host(f"systemctl is-enabled {services}").split() == ["enabled"] * 5


def test_a_run_changes_nothing_on_a_finished_server(came_back):
    assert Run().ok().changed == []


@pytest.mark.parametrize(("tags", "reached"), [("mta", {"postfix"}), ("signing", {"dkim", "dns", "rspamd"})])
def test_a_part_alone_changes_nothing_on_a_finished_server(came_back, tags, reached):
    run = Run("--tags", tags).ok()
    assert run.changed == []
    assert set(re.findall(r"TASK \[postmaster\.mail\.(\w+) : ", run.output)) == reached | {"host"}


def test_other_hosts_are_left_alone():
    run = Run("--limit", "mail.nowhere.test")
    assert "TASK" not in run.output
