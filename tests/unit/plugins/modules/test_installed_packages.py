# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""installed_packages on this machine, beside ansible-core's own module, and what it makes of both package managers' words."""

from __future__ import annotations

import json
import subprocess

from ansible_collections.postmaster.mail.plugins.module_utils import _packages


def call():
    command = ["ansible", "localhost", "-m", "postmaster.mail.installed_packages", "--one-line"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.partition(" => ")[2])


def test_it_finds_what_dpkg_finds():
    facts = call()["ansible_facts"]
    text = subprocess.run(["dpkg", "--get-selections"], capture_output=True, text=True, check=True).stdout
    selected = {line.split()[0].split(":")[0] for line in text.splitlines() if line.split()[1] in ("install", "hold")}
    assert set(facts["packages"]) == selected
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "dpkg"], capture_output=True, text=True, check=True).stdout
    assert facts["packages"]["dpkg"] == [{"name": "dpkg", "version": version, "source": "dpkg"}]
    assert isinstance(facts["package_lists"], bool)


def test_what_was_removed_is_not_installed():
    text = "installed postfix 3.10.4-1\nconfig-files exim4 4.98-1\ninstalled libc6 2.41-12\ninstalled libc6 2.41-12\nunpacked rspamd 3.12\n"
    found = _packages.installed("dpkg", text)
    assert sorted(found) == ["libc6", "postfix"]
    assert len(found["libc6"]) == 2


def test_pkg_info_is_split_as_ansible_core_does():
    text = "dovecot-2.3.21.1v0  compact IMAP/POP3 server\npostfix-3.9.1-sasl2 fast, secure sendmail replacement\n\nquirks   exceptions\n"
    found = _packages.installed("pkg_info", text)
    versions = {name: entries[0]["version"] for name, entries in found.items()}
    assert versions == {"dovecot": "2.3.21.1v0", "postfix-3.9.1": "sasl2", "quirks": ""}
    assert found["dovecot"][0]["source"] == "pkg_info"
