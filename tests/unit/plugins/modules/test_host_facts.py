# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""host_facts on this machine, and what it makes of the words of package managers and systemd."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ansible_collections.postmaster.mail.plugins.module_utils import _host_facts


def call():
    command = ["ansible", "localhost", "-m", "postmaster.mail.host_facts", "--one-line"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.partition(" => ")[2])


def test_it_finds_what_is_there():
    facts = call()["ansible_facts"]
    text = subprocess.run(["dpkg", "--get-selections"], capture_output=True, text=True, check=True).stdout
    selected = {line.split()[0].split(":")[0] for line in text.splitlines() if line.split()[1] in ("install", "hold")}
    assert set(facts["packages"]) == selected
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "dpkg"], capture_output=True, text=True, check=True).stdout
    assert facts["packages"]["dpkg"] == [{"name": "dpkg", "version": version, "source": "dpkg"}]
    assert isinstance(facts["package_lists"], bool)
    assert facts["mail_orphaned"] is False  # there is no OpenSMTPD here
    accounts = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    assert {name: facts["getent_passwd"][name] for name, *_fields in accounts} == {name: fields for name, *fields in accounts}


def test_what_was_removed_is_not_installed():
    text = "installed postfix 3.10.4-1\nconfig-files exim4 4.98-1\ninstalled libc6 2.41-12\ninstalled libc6 2.41-12\nunpacked rspamd 3.12\n"
    found = _host_facts.installed("dpkg", text)
    assert sorted(found) == ["libc6", "postfix"]
    assert len(found["libc6"]) == 2


def test_pkg_info_is_split_as_ansible_core_does():
    text = "dovecot-2.3.21.1v0  compact IMAP/POP3 server\npostfix-3.9.1-sasl2 fast, secure sendmail replacement\n\nquirks   exceptions\n"
    found = _host_facts.installed("pkg_info", text)
    versions = {name: entries[0]["version"] for name, entries in found.items()}
    assert versions == {"dovecot": "2.3.21.1v0", "postfix-3.9.1": "sasl2", "quirks": ""}
    assert found["dovecot"][0]["source"] == "pkg_info"


def test_a_service_lasts_if_it_runs_and_is_enabled():
    states = {
        "certbot.timer": ("active", "enabled"),
        "dovecot.service": ("active", "enabled"),
        "exim4.service": ("active", "generated"),
        "fail2ban.service": ("active", "enabled-runtime"),
        "postfix.service": ("inactive", "enabled"),
        "valkey-server@rspamd.service": ("active", "disabled"),
        "user@0.service": ("active", ""),
    }
    text = "\n".join(f"Id={name}\nActiveState={active}\nUnitFileState={enabled}\n" for name, (active, enabled) in states.items())
    assert _host_facts.lasting(text) == ["certbot.timer", "dovecot"]
    assert _host_facts.lasting("") == []
