# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from dkim_runner import Runner

run = Runner()

DELIVERY = {"fqdn": "mail.example.org", "domains": [], "mailboxes": [], "aliases": {}, "recipient_delimiter": "+", "system": {}}


def module(check=False, **options):
    return run("queue_migrate", options, check)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "postfix"}, "state is handed_over but all of the following are missing: target, delivery"),
        ({"source": "postfix", "state": "stopped"}, "state is stopped but all of the following are missing: stop"),
        ({"source": "postfix", "target": "postfix", "delivery": DELIVERY},
         "target 'postfix' is the source: there is nobody to hand over to"),
        ({"source": "postfix", "target": "opensmtpd", "delivery": DELIVERY}, "delivery lacks mail_user"),
        ({"source": "opensmtpd", "target": "postfix", "delivery": {}}, "delivery lacks aliases, domains, fqdn, mailboxes, system"),
        ({"source": "exim", "target": "postfix", "delivery": {}}, "value of source must be one of: opensmtpd, postfix, got: exim"),
    ],
)  # fmt: skip
def test_errors(options, message):
    result = module(**options)
    assert result["failed"] is True and result["msg"] == message


def test_nothing_waits_and_what_is_damaged_is_told(tmp_path):
    spools = {"postfix_spool": str(tmp_path / "postfix"), "opensmtpd_spool": str(tmp_path / "smtpd")}
    for check in (True, False):
        result = module(check, source="opensmtpd", target="postfix", delivery=DELIVERY, **spools)
        assert (result["changed"], result["carried"], result["kept"]) == (False, [], [])
    held = tmp_path / "postfix/hold/4jXRhold00"
    (tmp_path / "postfix/incoming").mkdir(parents=True)
    held.parent.mkdir()
    held.write_bytes(b"C")
    held.chmod(0o700)
    result = module(source="postfix", target="opensmtpd", delivery={**DELIVERY, "mail_user": "vmail"}, **spools)
    assert result["changed"] is False and result["kept"][0]["id"] == "4jXRhold00"
    assert result["warnings"] == [
        "message 4jXRhold00 from <> to unknown recipients stays in the queue of postfix, because it was put on hold. Look at it with "
        f"`cat -v {held}`; it is delivered if this server comes back"
    ]


def test_what_cannot_go_on_to_an_action_of_another_name_is_told(tmp_path, monkeypatch):
    orphan = tmp_path / "queue/0a/0a0b0c0d/0a0b0c0d00000000"
    orphan.parent.mkdir(parents=True)
    envelope = {"version": "3", "dispatcher": "theirs, of old", "type": "bounce", "sender": "@", "rcpt": "a@b", "dest": "a@b", "ctime": "1"}
    orphan.write_text("".join(f"{key}: {value}\n" for key, value in envelope.items()))
    program = tmp_path / "smtpctl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    options = {"source": "opensmtpd", "target": "opensmtpd", "opensmtpd_spool": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        result = Runner()("queue_migrate", {**options, "delivery": {**DELIVERY, "mail_user": "vmail"}}, False)
    assert result["changed"] is False
    assert result["warnings"] == [
        "message 0a0b0c0d00000000 from <> to unknown recipients stays in the queue of opensmtpd, because it is a bounce that smtpd has not "
        f"written yet. Look at it with `cat -v {orphan}`; it is delivered if its action comes back"
    ]


def test_stopped(tmp_path):
    stopped = tmp_path / "stopped"
    options = {"source": "postfix", "state": "stopped", "stop": ["touch", str(stopped)], "postfix_spool": str(tmp_path)}
    assert module(True, **options)["changed"] is True and not stopped.exists()
    result = module(**options)
    assert (result["changed"], result["quiet"]) == (True, True) and stopped.exists()
