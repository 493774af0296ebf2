# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that renews the certificate on OpenBSD, as a run of it may end, with fakes of acme-client and rcctl; and certbot's hook,
with one for systemctl."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROLE = Path(__file__).resolve().parents[3] / "roles/certificate"
# $1 is what it puts in place of the certificate, if anything, and $2 how it ends.
ACME = """#!/bin/sh
echo "$@" >>{top}/asked
read -r new status <{top}/answer
[ "$new" = - ] || echo "$new" >{top}/issued.pem
exit "$status"
"""
# Services that are named in one of these files do not run, do not reload, do not restart; what they read is theirs from then on.
RCCTL = """#!/bin/sh
case $1 in
  check) ! grep -qx "$2" {top}/stopped ;;
  *)
    grep -qx "$1 $2" {top}/broken && exit 1
    [ ! -e {top}/kill ] || { kill -9 $PPID; exit 1; }
    cp {top}/chain.pem {top}/serves.$2; echo "$1 $2" >>{top}/told ;;
esac
"""


def install(top: Path, services: str) -> None:
    """Put the role's files below ``etc``, with a configuration that has all that the role's template writes."""
    shutil.copytree(ROLE / "files/etc", top / "etc")
    values = {"fqdn": "mail.example.org", "key": f"{top}/key.pem", "chain": f"{top}/chain.pem", "issued": f"{top}/issued.pem",
              "group": "root", "services": services}
    template = (ROLE / "templates/etc/postmaster-mail/certificate.conf.j2").read_text()
    assert re.findall(r"(?m)^(\w+)=", template) == list(values)
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    (top / "etc/postmaster-mail/certificate.conf").write_text(text)


class Host:
    def __init__(self, top: Path) -> None:
        self.top = top
        install(top, "smtpd dovecot")
        (top / "bin").mkdir()
        for name, stub in (("acme-client", ACME), ("rcctl", RCCTL)):
            (top / "bin" / name).write_text(stub.replace("{top}", str(top)))
            (top / "bin" / name).chmod(0o755)
        self.write("stopped", "")
        self.write("broken", "reload smtpd\n")
        self.write("chain.pem", "self-signed\n")

    def write(self, name: str, text: str) -> None:
        (self.top / name).write_text(text)

    def run(self, answer: str, *options: str) -> tuple[int, list[str]]:
        """Let acme-client answer, `CERTIFICATE STATUS` -> how the script ended, and which services were told how."""
        self.write("answer", answer + "\n")
        self.write("told", "")
        done = self.program("renew-certificate", *options)
        self.words = done.stdout + done.stderr
        return done.returncode, (self.top / "told").read_text().splitlines()

    def program(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        command = ["sh", self.top / "etc/postmaster-mail" / name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": f"{self.top}/bin:/usr/bin:/bin"})

    def serve(self) -> list[str]:
        """Return the certificates that smtpd and dovecot have read."""
        return [(self.top / f"serves.{name}").read_text().strip() for name in ("smtpd", "dovecot")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


TOLD = ["restart smtpd", "reload dovecot"]


def test_a_new_certificate_is_told_once(host: Host) -> None:
    assert host.run("first 0") == (0, TOLD)
    assert (host.serve(), host.words) == (["first", "first"], "")
    assert host.run("- 2") == (2, [])
    assert host.run("second 0", "-F") == (0, TOLD)
    assert (host.top / "asked").read_text().splitlines()[-1] == "-F -f /etc/acme-client.mail.conf mail.example.org"
    assert host.serve() == ["second", "second"]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in host.top.glob("chain.pem*")} == {
        "chain.pem": "0o644", "chain.pem.told": "0o644"}


def test_a_failure_of_acme_client_changes_nothing(host: Host) -> None:
    host.run("first 0")
    for status in (1, 127):
        assert host.run(f"- {status}") == (1, [])
    assert (host.top / "chain.pem").read_text() == "first\n"
    assert host.run("- 2") == (2, [])


def test_who_could_not_be_told_is_told_again(host: Host) -> None:
    host.run("first 0")
    host.write("broken", "reload smtpd\nrestart smtpd\n")
    # The failure of one keeps nobody else from it.
    assert host.run("second 0") == (1, ["reload dovecot"])
    assert host.serve() == ["first", "second"]
    assert "these services go on with the one before: smtpd." in host.words
    assert host.run("- 2") == (1, ["reload dovecot"])
    host.write("broken", "reload smtpd\n")
    assert host.run("- 2") == (0, TOLD)
    assert host.serve() == ["second", "second"]
    assert host.run("- 2") == (2, [])


def test_a_run_that_was_killed_is_finished_by_the_next(host: Host) -> None:
    host.run("first 0")
    host.write("kill", "")
    # The chain is in place by then, and nobody knows.
    assert host.run("second 0") == (-9, [])
    assert ((host.top / "chain.pem").read_text(), host.serve()) == ("second\n", ["first", "first"])
    (host.top / "kill").unlink()
    assert host.run("- 2") == (0, TOLD)
    assert host.run("- 2") == (2, [])


def test_a_service_that_does_not_run_needs_not_be_told(host: Host) -> None:
    host.write("stopped", "smtpd\ndovecot\n")
    assert host.run("first 0") == (0, [])
    assert host.run("- 2") == (2, [])


def test_another_chain_in_its_place_is_replaced_and_told(host: Host) -> None:
    host.run("first 0")
    # Another method of the role, for a while.
    host.write("chain.pem", "of the user\n")
    assert host.run("- 2") == (0, TOLD)
    assert host.serve() == ["first", "first"]


def test_what_cannot_be_put_in_place_is_a_failure(host: Host) -> None:
    host.run("first 0")
    host.write("bin/install", "#!/bin/sh\nexit 1\n")
    (host.top / "bin/install").chmod(0o755)
    assert host.run("second 0") == (1, [])
    assert (host.top / "chain.pem").read_text() == "first\n"


def test_services_that_read_another_certificate_are_told_each(host: Host) -> None:
    host.write("told", "")
    host.write("broken", "reload smtpd\nrestart smtpd\n")
    host.write("stopped", "httpd\n")
    assert host.program("reload-services", "smtpd", "httpd", "dovecot").returncode == 1
    assert (host.top / "told").read_text() == "reload dovecot\n"
    host.write("broken", "reload smtpd\n")
    done = host.program("reload-services", "smtpd", "httpd", "dovecot")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert (host.top / "told").read_text() == "reload dovecot\nrestart smtpd\nreload dovecot\n"


@pytest.mark.parametrize("missing", ["certificate.conf", "certificate-functions.sh"])
def test_without_its_configuration_it_asks_for_nothing(host: Host, missing: str) -> None:
    (host.top / "etc/postmaster-mail" / missing).unlink()
    # Not with 2, which is "nothing to do" here.
    assert (host.program("renew-certificate").returncode, (host.top / "asked").exists()) == (1, False)


# Services that are named in one of these files do not run, or do not reload.
SYSTEMCTL = """#!/bin/sh
case $1 in
  --quiet) ! grep -qx "$3" {top}/stopped ;;
  *)
    grep -qx "$2" {top}/broken && exit 1
    cp {top}/chain.pem {top}/serves.$2; echo "$2" >>{top}/told ;;
esac
"""


class Certbot:
    """A host whose certbot runs the hook after a renewal, and whose certbot.service runs it after each look."""

    def __init__(self, top: Path) -> None:
        self.top, self.live = top, top / "etc/letsencrypt/live/mail.example.org"
        install(top, "postfix dovecot smtpd")
        (top / "bin").mkdir()
        (top / "bin/systemctl").write_text(SYSTEMCTL.replace("{top}", str(top)))
        (top / "bin/systemctl").chmod(0o755)
        (top / "stopped").write_text("smtpd\n")
        (top / "broken").write_text("")

    def issue(self, text: str) -> None:
        self.live.mkdir(parents=True, exist_ok=True)
        for name in ("privkey", "fullchain"):
            (self.live / f"{name}.pem").write_text(f"{text} {name}\n")

    def run(self, lineage: str = "") -> tuple[int, list[str]]:
        """Run the hook, for what certbot has renewed or by itself; return how it ended and which services were told."""
        (self.top / "told").write_text("")
        environment = {"PATH": f"{self.top}/bin:/usr/bin:/bin", **({"RENEWED_LINEAGE": str(self.live.parent / lineage)} if lineage else {})}
        hook = self.top / "etc/letsencrypt/renewal-hooks/deploy/postmaster-mail"
        done = subprocess.run(["sh", hook], capture_output=True, text=True, check=False, env=environment)
        self.words = done.stdout + done.stderr
        return done.returncode, (self.top / "told").read_text().splitlines()

    def pair(self) -> list[str]:
        return [(self.top / f"{name}.pem").read_text().split()[0] for name in ("key", "chain")]


@pytest.fixture
def certbot(tmp_path: Path) -> Certbot:
    return Certbot(tmp_path)


def test_certbots_hook_places_the_pair_and_tells_once(certbot: Certbot) -> None:
    assert certbot.run() == (0, [])  # nothing was issued yet
    certbot.issue("first")
    assert certbot.run("other.example.org") == (0, [])
    assert certbot.run("mail.example.org") == (0, ["postfix", "dovecot"])
    assert (certbot.pair(), certbot.words) == (["first", "first"], "")
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in certbot.top.glob("*.pem*")} == {
        "key.pem": "0o600", "chain.pem": "0o644", "chain.pem.told": "0o644"}
    assert certbot.run() == (0, [])


def test_what_certbots_hook_could_not_do_is_done_at_the_next_look(certbot: Certbot) -> None:
    certbot.issue("first")
    certbot.run("mail.example.org")
    certbot.issue("second")
    (certbot.top / "broken").write_text("postfix\n")
    assert certbot.run("mail.example.org") == (1, ["dovecot"])
    assert "these services go on with the one before: postfix." in certbot.words
    (certbot.top / "broken").write_text("")
    assert certbot.run() == (0, ["postfix", "dovecot"])
    assert certbot.run() == (0, [])
    # A directory in the way, as a full disk: nothing is replaced, and nobody told.
    certbot.issue("third")
    (certbot.top / "chain.pem.new").mkdir()
    (certbot.top / "chain.pem.new/fullchain.pem").mkdir()
    assert certbot.run("mail.example.org") == (1, [])
    assert certbot.pair() == ["second", "second"]
    (certbot.top / "chain.pem.new/fullchain.pem").rmdir()
    (certbot.top / "chain.pem.new").rmdir()
    assert certbot.run() == (0, ["postfix", "dovecot"])
    assert certbot.pair() == ["third", "third"]
