# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile inventories that pass the checks, read by the parsers of the daemons themselves: what they say must be what was meant.

tests/unit/inventories makes the inventories and reads the files with parsers of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from ansible_collections.postmaster.mail.plugins.module_utils._model import delivery
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import checked_model

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests/unit/inventories"))
import hostile

#: How many are made; about a third of them pass the checks, and are read. `make test-slow` sets more.
EXAMPLES = int(os.environ.get("POSTMASTER_MAIL_EXAMPLES") or 100)
STATE = Path(os.environ.get("POSTMASTER_MAIL_CACHE") or "/var/cache/postmaster-mail")
NAME = os.environ.get("TESTNET_NAME")
KEY = STATE / f"testnet{'-' + NAME if NAME else ''}" / "ssh/id_ed25519"
HOST, ADDRESS = "mail.dkimproxy.test", "198.51.100.47"
PACKAGES = "postfix dovecot-core dovecot-lmtpd dovecot-imapd dovecot-sieve dovecot-managesieved rspamd unbound fail2ban python3"
PREPARE = f"""
set -eu
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install {PACKAGES} >/dev/null 2>&1
# Its package excludes Postfix's.
cd /tmp && apt-get -qq download opensmtpd && dpkg -x opensmtpd_*.deb /opt/opensmtpd
mkdir -p /var/lib/opensmtpd/empty
id vmail >/dev/null 2>&1 || useradd --uid 5000 --home-dir /var/vmail vmail
for account in opensmtpd opensmtpq; do id $account >/dev/null 2>&1 || useradd --system --home-dir /nonexistent $account; done
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mail.example.org -keyout /tmp/key.pem -out /tmp/chain.pem 2>/dev/null
cat /tmp/key.pem /tmp/chain.pem > /root/parsers.pem
umask 077; echo 'srs key "0123456789abcdef0123"' > /etc/smtpd.srs.conf
"""


def on(command, stdin=None):
    """Run a command on the host; return its status and what it printed."""
    ssh = ["ssh", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", KEY]
    done = subprocess.run([ROOT / "tests/testnet/inside", *ssh, f"root@{ADDRESS}", command], input=stdin, capture_output=True)
    assert done.returncode == 0, (done.stdout[-3000:] + done.stderr[-3000:]).decode(errors="replace")
    return done.stdout.decode(errors="replace")


@pytest.fixture(scope="module")
def inventories():
    """Those that pass the checks, first the lawful one."""
    found = [hostile.BASE, *(inventory for inventory in hostile.systematic() if not hostile.problems(inventory))]

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hostile.inventories())
    def collect(inventory):
        # smtpd reads the files themselves, and these are directories.
        directory = any(str(inventory.get(name, "")).endswith(("/", "/..")) for name in ("opensmtpd_tls_chain", "postfix_tls_key"))
        if inventory not in found and not directory and not hostile.problems(inventory):
            found.append(inventory)

    collect()
    assert len(found) > 50 + EXAMPLES / 8
    return found


@pytest.fixture(scope="module")
def answers(inventories):
    """What the parsers have read, in the order of the inventories."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for number, inventory in enumerate(inventories):
            for role, files in hostile.rendered(inventory).items():
                for name, text in files.items():
                    entry = tarfile.TarInfo(f"{number:05}/{role}/{name}")
                    entry.size = len(text.encode())
                    archive.addfile(entry, io.BytesIO(text.encode()))
    subprocess.run([ROOT / "tests/testnet/testnet", "boot", HOST], check=True)
    try:
        on(PREPARE)
        on("rm -rf /root/parsers && mkdir -p /root/parsers && tar -xz --no-same-owner -C /root/parsers", packed.getvalue())
        on("cat > /root/parse.py", Path(__file__).with_name("parse.py").read_bytes())
        found = json.loads(on("python3 /root/parse.py /root/parsers"))
        yield [found[name] for name in sorted(found)]
    finally:
        if not os.environ.get("POSTMASTER_MAIL_KEEP"):
            subprocess.run([ROOT / "tests/testnet/testnet", "destroy", HOST], check=False)


@pytest.fixture(scope="module")
def cases(inventories, answers):
    """Inventory, model, tables, and what the parsers have read."""
    made = []
    for inventory, answer in zip(inventories, answers, strict=True):
        shared = {name.removeprefix("mail_"): value for name, value in inventory.items() if name.startswith("mail_")}
        model = checked_model(shared, "Debian")
        made.append((inventory, model, delivery.delivery(model), answer))
    return made


def split(value):
    return [target.strip().removesuffix(".srs.invalid") for target in value.split(",")]


def test_postfix(cases):
    for inventory, model, tables, answer in cases:
        read = answer["postfix"]
        assert (read["status"], read["warnings"]) == (0, ""), inventory
        own = {name: [name] for name in tables["no_mail"]}
        assert {name: split(value) for name, value in read["tables"]["aliases"].items()} == {**tables["aliases"], **own}
        assert {name: split(value) for name, value in read["tables"]["system"].items()} == tables["system"]
        senders = {name: logins or ["-"] for name, logins in tables["senders"].items()}
        assert {name: split(value) for name, value in read["tables"]["senders"].items()} == senders
        refused = {name: f"550 5.2.1 {text}" for name, text in tables["no_mail"].items() if text}
        assert read["tables"]["no_mail"] == refused
        assert sorted(read["tables"]["mailboxes"]) == tables["mailboxes"]
        parameters = {name.strip(): value.strip() for name, value in read["parameters"].items()}
        assert parameters["myhostname"] == model["fqdn"]
        assert re.split(r"[,\s]+", parameters["smtpd_tls_chain_files"])[0] == inventory["postfix_tls_key"]
        assert parameters["smtpd_milters"] == inventory["postfix_milter"].strip()
        assert parameters["virtual_mailbox_domains"].split(", ") == tables["domains"]


def test_opensmtpd(cases):
    for inventory, _common, _tables, answer in cases:
        assert (answer["smtpd"]["status"], "configuration OK" in answer["smtpd"]["said"]) == (0, True), (answer["smtpd"]["said"], inventory)


def test_dovecot(cases):
    for inventory, model, _tables, answer in cases:
        read = answer["dovecot"]
        assert (read["status"], read["sieve"]) == (0, 0), (read, inventory)
        assert not re.search(r"(?i)\b(warning|error|fatal)\b", read["warnings"]), (read["warnings"], inventory)
        value = re.sub(r"\\(.)", r"\1", re.sub(r'\A"(.*)"\Z', r"\1", read["values"]["postmaster_address"]))
        assert value == model["postmaster"], inventory
        assert read["values"]["mail_home"].startswith(f"{inventory['dovecot_mail_home']}/"), inventory


def test_rspamd(cases):
    for inventory, model, _tables, answer in cases:
        read = answer["rspamd"]
        assert not [text for text in read.values() if isinstance(text, str)], (read, inventory)
        assert read["options.inc"]["dns"]["nameserver"] == inventory["rspamd_nameservers"]
        if model["filter"]["trusted"]:
            assert sorted(model["filter"]["trusted"]) == read["settings.conf"]["trusted"]["ip"], inventory


def test_fail2ban(cases):
    for inventory, _common, _tables, answer in cases:
        assert answer["jail"]["ignoreip"] == " ".join(inventory["protection_trusted"]), inventory
        assert answer["jail"]["bantime"] == str(inventory.get("protection_ban_seconds", 3600))


def test_unbound(cases):
    for inventory, _common, _tables, answer in cases:
        assert answer["unbound"]["status"] == 0, (answer["unbound"]["said"], inventory)
