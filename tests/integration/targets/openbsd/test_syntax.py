# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles write for OpenBSD is read by the portable smtpd 7.6, whose grammar is that of 7.8 and 7.9 (6.8, Debian 12's own, knows
no ciphers for one port), by doveconf 2.3, and by postconf 3.10, which the strict receiver of the test network has. That is no proof
that it runs there.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
STATE = Path(os.environ.get("POSTMASTER_MAIL_CACHE") or "/var/cache/postmaster-mail")
NAME = os.environ.get("TESTNET_NAME")
KEY = STATE / f"testnet{'-' + NAME if NAME else ''}" / "ssh/id_ed25519"

#: Host of the test network, its address, what is installed there, and the versions that answer.
HOSTS = {
    "mail.lab-b.test": ("198.51.100.32", ["dovecot-imapd", "dovecot-lmtpd", "dovecot-managesieved", "dovecot-sieve"]),
    "mail.lab-d.test": ("198.51.100.34", ["opensmtpd"]),
}
RECEIVER, BIGMAIL = "mx.bigmail.test", "198.51.100.10"
PREPARE = r"""
set -eu
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install %s >/dev/null 2>&1
id vmail >/dev/null 2>&1 || useradd -u 5000 -d /var/vmail vmail
mkdir -p /etc/ssl/postmaster-mail; cd /etc/ssl/postmaster-mail
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mail.example.org -keyout mail.example.org.key -out mail.example.org.pem 2>/dev/null
chmod 600 mail.example.org.key
mkdir -p /etc/mail; umask 077; echo 'srs key "0123456789abcdef0123"' > /etc/mail/smtpd.srs.conf
"""


def on(host, command, stdin=None):
    """Run a command on a host of the test network; return its status and all that it said."""
    address = BIGMAIL if host == RECEIVER else HOSTS[host][0]
    ssh = ["ssh", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", KEY]
    done = subprocess.run([ROOT / "tests/testnet/inside", *ssh, f"root@{address}", command], input=stdin, capture_output=True)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def rendered(where, **more):
    """Render the files and return them as an archive that unpacks in a host's root."""
    options = json.dumps({"rendered": str(where), **more})
    playbook = Path(__file__).with_name("render.yml")
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", playbook, "-e", options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(where / "etc", "etc")
    return packed.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The files."""
    return rendered(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def hosts(archive):
    """The hosts, with the programs and the files."""
    try:
        for host, (_address, packages) in HOSTS.items():
            subprocess.run([ROOT / "tests/testnet/testnet", "boot", host], check=True)
            status, said = on(host, PREPARE % " ".join(packages))
            assert status == 0, said
            status, said = on(host, "tar -x --no-same-owner -C / && chown -R root:root /etc/mail", archive)
            assert status == 0, said
        yield HOSTS
    finally:
        for host in HOSTS:
            subprocess.run([ROOT / "tests/testnet/testnet", "destroy", host], check=False)


def test_smtpd_reads_its_configuration(hosts):
    status, said = on("mail.lab-d.test", "smtpd -h 2>&1 | grep -o 'version: OpenSMTPD.*'; smtpd -n -f /etc/mail/smtpd.conf")
    assert "OpenSMTPD 7.6." in said
    assert (status, "configuration OK" in said, "warn" in said) == (0, True, False), said


def test_what_smtpd_does_not_know_is_refused(hosts):
    """The check above can fail."""
    host = "mail.lab-d.test"
    _status, _said = on(host, "sed 's/^bounce warn-interval.*/bounce no-such-word/' /etc/mail/smtpd.conf > /etc/mail/broken.conf")
    status, said = on(host, "smtpd -n -f /etc/mail/broken.conf")
    assert status != 0 and "syntax error" in said


def test_dovecot_reads_its_configuration(hosts):
    _status, version = on("mail.lab-b.test", "dovecot --version")
    assert version.startswith("2.3.")
    status, said = on("mail.lab-b.test", "doveconf -n -c /etc/dovecot/dovecot.conf")
    assert status == 0 and "mmap_disable = yes" in said and "Warning:" not in said and "Error:" not in said, said
    broken = "sed s/mmap_disable/mmap_disabled/ /etc/dovecot/dovecot.conf > /etc/dovecot/x.conf; doveconf -n -c /etc/dovecot/x.conf"
    status, said = on("mail.lab-b.test", broken)
    assert status != 0 and "mmap_disabled" in said


@pytest.fixture(scope="module")
def postfix(archive):
    """A directory at the receiver, which has Postfix."""
    status, where = on(RECEIVER, "mktemp -d")
    assert status == 0
    where = where.strip()
    try:
        assert on(RECEIVER, f"tar -x --no-same-owner -C {where}", archive) == (0, "")
        yield f"{where}/etc/postfix"
    finally:
        on(RECEIVER, f"rm -r {where}")


def test_postfix_knows_all_its_parameters(postfix):
    status, said = on(RECEIVER, f"postconf -c {postfix} -n && postconf -c {postfix} -M")
    assert (status, "warning:" in said, "fatal:" in said) == (0, False, False), said
    assert {"mail_owner = _postfix", "daemon_directory = /usr/local/libexec/postfix", "smtp_tls_CAfile = /etc/ssl/cert.pem",
            "virtual_transport = lmtp:unix:/var/dovecot/mta-lmtp"} <= set(said.splitlines())
    assert [line.split()[4] for line in said.splitlines() if line.startswith("smtp ")] == ["n", "n"]  # no chroot
    status, said = on(RECEIVER, f"sed -i s/^mail_owner/mail_owners/ {postfix}/main.cf; postconf -c {postfix} -n")
    assert "unused parameter: mail_owners" in said
