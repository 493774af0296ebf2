# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Handing over between two queues in a directory; the commands of the servers are small scripts here."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import stat
import sys
from pathlib import Path

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._queue import files
from ansible_collections.postmaster.mail.plugins.module_utils._queue import migrate as queue_migrate

DELIVERY = {
    "fqdn": "mail.example.org",
    "domains": ["example.org"],
    "mailboxes": ["me@example.org"],
    "aliases": {},
    "recipient_delimiter": "+",
    "system": {},
    "mail_user": "vmail",
}
RECIPIENTS = (files.Recipient("me@example.org", "me@example.org"), files.Recipient("x@y.test", "x@y.test"))
# Prints the content of a queue file, as postcat -bhq does.
POSTCAT = """#!{python}
import sys
sys.path[:0] = {path!r}
from ansible_collections.postmaster.mail.plugins.module_utils._queue import files as files
data = open("{spool}/incoming/" + sys.argv[-1], "rb").read()
sys.stdout.buffer.write(files.read_postfix("x", data).content)
"""
SMTPCTL = """#!/bin/sh
echo "$@" >>{log}
case $1 in
  discover) echo "$(ls {spool}/queue/*/$2 | grep -vc message) envelopes discovered" ;;
  show) cat {log}.queue 2>/dev/null ;;
esac
"""
SENDMAIL = """#!/bin/sh
(echo "$@"; cat) >>{log}.sendmail
"""


class Host:
    def __init__(self, tmp: Path, monkeypatch):
        self.tmp, self.log = tmp, tmp / "log"
        self.postfix = queue_migrate.Postfix(str(tmp / "postfix"))
        self.opensmtpd = queue_migrate.OpenSmtpd(str(tmp / "smtpd"), [str(tmp / "smtpd.conf")])
        for queue in ("incoming", "active", "deferred/A", "defer/A", "bounce", "hold", "maildrop", "corrupt"):
            (tmp / "postfix" / queue).mkdir(parents=True)
        for queue in ("incoming", "queue", "offline"):
            (tmp / "smtpd" / queue).mkdir(parents=True)
        self.script("postcat", POSTCAT.format(python=sys.executable, path=sys.path, spool=tmp / "postfix"))
        self.script("postqueue", "#!/bin/sh\n")
        self.script("smtpctl", SMTPCTL.format(log=self.log, spool=tmp / "smtpd"))
        self.script("sendmail", SENDMAIL.format(log=self.log))
        monkeypatch.setenv("PATH", f"{tmp / 'bin'}:/usr/bin:/bin")

    def script(self, name: str, text: str) -> None:
        path = self.tmp / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def in_postfix(self, queue: str, name: str, whole: bool = True, **changes) -> Path:
        given = {"id": name, "sender": "me@example.org", "recipients": RECIPIENTS, "content": b"Subject: x\n\n.\n", "arrived": 7, **changes}
        path = self.tmp / "postfix" / queue / name
        path.write_bytes(files.write_postfix(files.Message(**given), "x", {**DELIVERY, "system": {"root": ["root@example.org"]}}))
        path.chmod(0o700 if whole else 0o600)
        return path

    def in_opensmtpd(self, msgid: str, *more: str, content: bytes = b"Subject: x\n\n.\n") -> Path:
        folder = self.tmp / "smtpd/queue" / msgid[:2] / msgid
        folder.mkdir(parents=True)
        message = files.Message(msgid, "me@example.org", RECIPIENTS, content, 1700000000)
        for name, data in files.write_opensmtpd(message, msgid, DELIVERY).items():
            (folder / name).write_bytes(data)
        for number, text in enumerate(more):
            (folder / f"{msgid}0000000{number}").write_text(text)
        (folder / "message").write_bytes(content)
        return folder

    def to_opensmtpd(self, check: bool = False):
        return queue_migrate.migrate(self.postfix, self.opensmtpd, DELIVERY, check)

    def to_postfix(self, check: bool = False):
        return queue_migrate.migrate(self.opensmtpd, self.postfix, DELIVERY, check)

    def to_itself(self, check: bool = False):
        return queue_migrate.migrate(self.opensmtpd, self.opensmtpd, DELIVERY, check)

    def left(self, *folders: str) -> list[str]:
        return sorted(str(path.relative_to(self.tmp)) for folder in folders for path in (self.tmp / folder).rglob("*") if path.is_file())


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_from_postfix_to_opensmtpd(host):
    host.in_postfix("deferred/A", "4jXRdeferred")
    (host.tmp / "postfix/defer/A/4jXRdeferred").write_text("why")
    host.in_postfix("active", "4jXRactive0", sender="")
    assert [one["id"] for one in host.to_opensmtpd(check=True)["carried"]] == ["4jXRactive0", "4jXRdeferred"]
    assert host.left("smtpd") == []
    result = host.to_opensmtpd()
    assert result["kept"] == []
    assert host.left("postfix") == []
    assert len(host.left("smtpd")) == 6
    for one in result["carried"]:
        folder = host.tmp / "smtpd/queue" / one["new_id"][:2] / one["new_id"]
        assert (folder / "message").read_bytes() == b"Subject: x\n\n.\n"
        assert stat.S_IMODE((folder / "message").stat().st_mode) == 0o600
        assert f"discover {one['new_id']}" in host.log.read_text()
    assert host.to_opensmtpd() == {"carried": [], "kept": []}


def test_from_opensmtpd_to_postfix(host):
    host.in_opensmtpd("0a0b0c0d", content=b"Subject: \xe4\n\n" + b"x" * 5000 + b"\n")
    host.in_opensmtpd("0a0b0c0e")
    result = host.to_postfix()
    assert result["kept"] == []
    assert host.left("smtpd") == [] and not any((host.tmp / "smtpd/queue").iterdir())
    for one in result["carried"]:
        path = host.tmp / "postfix/incoming" / one["new_id"]
        # The name is the inode, as Postfix wants it, and the file is whole.
        assert one["new_id"] == f"00000{path.stat().st_ino:X}" and stat.S_IMODE(path.stat().st_mode) == 0o700
        found = files.read_postfix("x", path.read_bytes())
        assert found.recipients == tuple(sorted(RECIPIENTS, key=lambda recipient: found.recipients.index(recipient)))
        assert found.attributes["handed_over_from"] == f"opensmtpd/{one['id']}"


@pytest.mark.parametrize("moment", ["_remove", "_discover", "sync", "mkdir", "give", "rename"])
def test_killed_on_the_way_to_opensmtpd(host, monkeypatch, moment):
    host.in_postfix("deferred/A", "4jXRdeferred")

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        owner = queue_migrate.OpenSmtpd if moment == "_discover" else queue_migrate if moment == "_remove" else queue_migrate.safe
        patch.setattr(owner, moment, killed)
        host.to_opensmtpd()
    assert host.left("postfix") == ["postfix/deferred/A/4jXRdeferred"]
    result = host.to_opensmtpd()
    assert len(result["carried"]) == 1 and host.left("postfix") == []
    assert len(host.left("smtpd/queue")) == 3 and host.left("smtpd/incoming") == []


@pytest.mark.parametrize("moment", ["_remove", "_run", "give", "rename"])
def test_killed_on_the_way_to_postfix(host, monkeypatch, moment):
    host.in_opensmtpd("0a0b0c0d")

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(queue_migrate.os, "getpid", lambda: 1)  # the next run is another process
        patch.setattr(queue_migrate if moment.startswith("_") else queue_migrate.safe, moment, killed)
        host.to_postfix()
    assert len(host.left("smtpd")) == 3
    result = host.to_postfix()
    assert len(result["carried"]) == 1 and host.left("smtpd") == []
    assert len(host.left("postfix")) == 1


def test_what_is_damaged_in_the_new_queue_is_not_delivered_twice(host, monkeypatch):
    host.in_opensmtpd("0a0b0c0d")
    host.in_opensmtpd("0a0b0c0e")
    with monkeypatch.context() as patch:
        patch.setattr(queue_migrate, "_remove", lambda _paths: None)  # as if killed before
        taken = host.to_postfix()["carried"][0]
    path = host.tmp / "postfix/incoming" / taken["new_id"]
    path.write_bytes(path.read_bytes()[:-9])
    result = host.to_postfix()
    assert [one["id"] for one in result["carried"]] == ["0a0b0c0e"]
    reason = f"an earlier run moved it to {path}, which is damaged"
    assert [(one["id"], one["reason"]) for one in result["kept"]] == [("0a0b0c0d", reason)]
    assert len(host.left("smtpd")) == 3 and len(host.left("postfix")) == 2


def test_a_queue_that_cannot_be_read_ends_the_run(host, monkeypatch):
    """Whether a message is in it already is not known then."""
    host.in_opensmtpd("0a0b0c0d")
    with monkeypatch.context() as patch:
        patch.setattr(queue_migrate, "_remove", lambda _paths: None)
        path = host.tmp / "postfix/incoming" / host.to_postfix()["carried"][0]["new_id"]
    opened = queue_migrate._opened

    def broken(name):
        if name == str(path):
            raise OSError(errno.EIO, "Input/output error", name)
        return opened(name)

    monkeypatch.setattr(queue_migrate, "_opened", broken)
    with pytest.raises(OSError, match="Input/output error"):
        host.to_postfix()
    assert len(host.left("smtpd")) == 3


SERVICE = 65534  # whoever owns the queue of the tests below
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: has directories of a service's")


def given_away(*paths: Path) -> None:
    for path in paths:
        os.chown(path, SERVICE, SERVICE)


def swapped(monkeypatch, function, folder: Path, target: Path) -> None:
    """Before the first call of one of our functions, have the owner of the queue put a link in the place of a directory."""
    called = getattr(queue_migrate, function) if hasattr(queue_migrate, function) else getattr(queue_migrate.safe, function)

    def first(*arguments):
        if not folder.is_symlink():
            folder.rename(folder.with_name(folder.name + ".away"))
            folder.symlink_to(target)
        return called(*arguments)

    monkeypatch.setattr(queue_migrate if hasattr(queue_migrate, function) else queue_migrate.safe, function, first)


@root
@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_file_of_somebody_else_is_not_handed_over_as_mail(host, kind):
    secret = host.in_postfix("deferred/A", "4jXRsecret").rename(host.tmp / "secret")
    given_away(host.tmp / "postfix/deferred", host.tmp / "postfix/deferred/A")
    path = host.tmp / "postfix/deferred/A/4jXRplaced"
    path.symlink_to(secret) if kind == "link" else os.link(secret, path)
    result = host.to_opensmtpd()
    assert result["carried"] == [] and secret.exists() and os.path.lexists(path)
    assert [one["reason"] for one in result["kept"]] == ([] if kind == "link" else [
        f"'{path}' is one of several names of a file, in a directory that nobody can change ({host.tmp}/postfix/deferred): it could be a "
        "file of somebody else's"
    ])


@root
@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_file_of_somebody_else_is_not_submitted(host, kind):
    offline = host.tmp / "smtpd/offline"
    given_away(offline)
    secret = host.tmp / "secret"
    secret.write_text("-i|me@example.org\nroot:secret\n")
    (offline / "1.x").symlink_to(secret) if kind == "link" else os.link(secret, offline / "1.x")
    result = host.to_postfix()
    assert result["carried"] == [] and len(result["kept"]) == (kind == "hard link")
    assert not host.log.with_suffix(".sendmail").exists()


@root
def test_nothing_is_removed_where_a_link_leads(host, monkeypatch):
    """Between the reading of a message and its removal."""
    host.in_postfix("deferred/A", "shadow")
    given_away(host.tmp / "postfix/deferred", host.tmp / "postfix/deferred/A")
    other = host.tmp / "etc"
    other.mkdir()
    (other / "shadow").write_text("root:x\n")
    swapped(monkeypatch, "_remove", host.tmp / "postfix/deferred/A", other)
    with pytest.raises(MailError, match="is a symbolic link in a directory that nobody can change; it is not followed"):
        host.to_opensmtpd()
    assert (other / "shadow").read_text() == "root:x\n"


@root
@pytest.mark.parametrize("moment", ["_write", "sync", "give", "rename"])
def test_nothing_is_written_or_given_away_where_a_link_leads(host, monkeypatch, moment):
    """Whoever owns smtpd's queue puts a link in the place of the directory of a message that is being made."""
    host.in_postfix("deferred/A", "4jXRdeferred")
    incoming = host.tmp / "smtpd/incoming"
    given_away(incoming)
    other = host.tmp / "cron.d"
    other.mkdir(mode=0o755)
    swapped(monkeypatch, moment, incoming / files.message_id("postfix/4jXRdeferred"), other)
    with contextlib.suppress(MailError, OSError):
        host.to_opensmtpd()
    assert list(other.iterdir()) == [] and (other.stat().st_uid, stat.S_IMODE(other.stat().st_mode)) == (0, 0o755)
    # Whoever moves a message of its own queue away loses that.
    assert moment == "rename" or host.left("postfix") == ["postfix/deferred/A/4jXRdeferred"]


@root
def test_no_mode_is_given_to_what_a_link_leads_to(host, monkeypatch):
    host.in_opensmtpd("0a0b0c0d")
    incoming, other = host.tmp / "postfix/incoming", host.tmp / "passwd"
    given_away(incoming)
    other.write_text("root\n")
    other.chmod(0o644)
    give = queue_migrate.safe.give

    def replaced(path, *arguments):
        os.unlink(path)
        os.symlink(other, path)
        return give(path, *arguments)

    monkeypatch.setattr(queue_migrate.safe, "give", replaced)
    with pytest.raises(OSError):
        host.to_postfix()
    assert (other.stat().st_uid, stat.S_IMODE(other.stat().st_mode)) == (0, 0o644)


def test_what_stays(host):
    held = host.in_postfix("hold", "4jXRhold00")
    host.in_postfix("incoming", "4jXRhalf00", whole=False)  # nobody was told that it is taken
    host.in_postfix("deferred/A", "4jXRbounce")
    (host.tmp / "postfix/bounce/4jXRbounce").write_text("x")
    host.in_postfix("deferred/A", "4jXRdamage").write_bytes(b"C")
    host.in_postfix("deferred/A", "4jXRnobody", recipients=())
    joe = host.in_postfix("deferred/A", "4jXRjoe000", recipients=(files.Recipient("joe@mail.example.net", "x"),))
    joe.write_bytes(joe.read_bytes().replace(b"joe@mail.example.net", b"joe@mail.example.org"))
    before = host.left("postfix")
    result = host.to_opensmtpd()
    assert result["carried"] == [] and host.left("postfix") == before and host.left("smtpd") == []
    assert {one["id"]: one["reason"] for one in result["kept"]} == {
        "4jXRhold00": "it was put on hold",
        "4jXRbounce": "its sender has not been told yet of a recipient that refused it",
        "4jXRdamage": "the queue file ends in the middle of a record",
        "4jXRnobody": "it has no recipient left",
        "4jXRjoe000": "recipient 'joe@mail.example.org' is a name of this host that nobody has",
    }
    assert result["kept"][-1]["path"] == str(held)
    assert result["kept"][-1]["recipients"] == ["me@example.org", "x@y.test"]


def test_what_stays_at_opensmtpd(host):
    bounce = "version: 3\ntype: bounce\nsender: me@example.org\nrcpt: x@y.test\ndest: x@y.test\nctime: 1\n"
    folder = host.in_opensmtpd("0a0b0c0d", bounce, "\x00encrypted")
    result = host.to_postfix()
    assert [one["id"] for one in result["carried"]] == ["0a0b0c0d"]
    assert sorted(one["reason"] for one in result["kept"]) == [
        "it is a bounce that smtpd has not written yet", "its envelope is encrypted, or damaged",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["0a0b0c0d00000000", "0a0b0c0d00000001", "message"]


@pytest.mark.parametrize("answer", ["echo smtpd does not run; exit 1", "echo 0 envelopes discovered"])
def test_a_server_that_does_not_do_its_part_stops_the_migration(host, answer):
    host.in_postfix("deferred/A", "4jXRdeferred")
    before = host.left("postfix")
    host.script("smtpctl", f"#!/bin/sh\n{answer}\n")
    with pytest.raises(queue_migrate.StuckQueueError) as caught:
        host.to_opensmtpd()
    assert "what is left stays where it is" in str(caught.value) and host.left("postfix") == before
    host.script("smtpctl", SMTPCTL.format(log=host.log, spool=host.tmp / "smtpd"))
    assert len(host.to_opensmtpd()["carried"]) == 1 and len(host.left("smtpd")) == 3


def test_what_postfix_reads_otherwise_stays(host):
    folder = host.in_opensmtpd("0a0b0c0d")
    host.script("postcat", "#!/bin/sh\necho something else\n")
    result = host.to_postfix()
    assert result["kept"][0]["reason"] == "Postfix does not understand it: it reads another text"
    assert len(list(folder.iterdir())) == 3 and host.left("postfix") == []


def test_a_server_that_is_not_installed_stops_the_migration(host, monkeypatch):
    host.in_opensmtpd("0a0b0c0d")
    with monkeypatch.context() as patch, pytest.raises(queue_migrate.StuckQueueError) as caught:
        patch.setattr(queue_migrate.shutil, "which", lambda *_arguments, **_options: None)
        host.to_postfix()
    assert str(caught.value) == "'postcat' is not installed on this host; what is left stays where it is"
    assert len(host.left("smtpd")) == 3
    assert len(host.to_postfix()["carried"]) == 1 and len(host.left("postfix")) == 1


def test_a_text_that_a_killed_run_has_left_goes(host):
    """It was killed after the last envelope."""
    for path in host.in_opensmtpd("0a0b0c0d").iterdir():
        if path.name != "message":
            path.unlink()
    host.in_opensmtpd("0a0b0c0e", "damaged")
    (host.tmp / "smtpd.conf").write_text(CONF)
    (host.tmp / "log.queue").write_text("")
    host.to_itself()
    host.to_postfix(check=True)
    assert "smtpd/queue/0a/0a0b0c0d/message" in host.left("smtpd")
    assert [one["id"] for one in host.to_postfix()["carried"]] == ["0a0b0c0e"]
    assert host.left("smtpd") == ["smtpd/queue/0a/0a0b0c0e/0a0b0c0e00000000", "smtpd/queue/0a/0a0b0c0e/message"]


def test_compressed_queues(host):
    folder = host.in_opensmtpd("0a0b0c0d")
    for path in folder.iterdir():
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(host.to_postfix()["carried"]) == 1


def test_a_queue_that_only_smtpd_can_write_takes_nothing_over(host):
    host.in_postfix("deferred/A", "4jXRdeferred")
    (host.tmp / "smtpd.conf").write_text('srs key "x"\nqueue encryption "0123456789abcdef0123456789abcdef"\n')
    reason = host.to_opensmtpd()["kept"][0]["reason"]
    assert reason == f"{host.tmp}/smtpd.conf asks for queue encryption, which only smtpd itself can write"
    assert len(host.left("postfix")) == 1 and host.left("smtpd") == []


def test_what_was_not_taken_in_yet_is_submitted_again(host):
    host.in_postfix("maildrop", "4jXRdrop00", sender="")
    (host.tmp / "smtpd/offline/1.abc").write_bytes(b"-f|me@example.org|x@y.test\nSubject: y\n\ny\n")
    assert len(host.to_opensmtpd()["carried"]) == len(host.to_postfix()["carried"]) == 1
    text = (host.tmp / "log.sendmail").read_text()
    assert text == "-i -f <> -- me@example.org x@y.test\nSubject: x\n\n.\n-f me@example.org x@y.test\nSubject: y\n\ny\n"
    assert host.left("smtpd", "postfix") == []


CONF = 'action "deliver" lmtp "/x" rcpt-to\n  action send relay\n# action "relay_dkim" relay host smtp://127.0.0.1:10027\n'


def test_what_waits_for_an_action_that_is_gone_goes_on(host):
    (host.tmp / "smtpd.conf").write_text(CONF)
    (host.tmp / "log.queue").write_text("")
    ours = host.in_opensmtpd("0a0b0c0d")
    theirs = host.in_opensmtpd("0a0b0c0e")
    # One recipient of the message is served still, and the other one by an action of old.
    here, away = sorted((path for path in theirs.iterdir() if path.name != "message"), key=lambda path: b"mda" not in path.read_bytes())
    away.write_bytes(away.read_bytes().replace(b"dispatcher: send\n", b"dispatcher: relay_dkim\n"))
    before = host.left("smtpd")
    assert host.opensmtpd.orphans() == [str(away)]
    for check in (True, False):
        [one] = host.to_itself(check)["carried"]
        assert (one["id"], one["recipients"]) == ("0a0b0c0e", ["x@y.test"])
        assert (host.left("smtpd") == before) is check
    assert sorted(path.name for path in theirs.iterdir()) == [here.name, "message"] and len(list(ours.iterdir())) == 3
    folder = host.tmp / "smtpd/queue" / one["new_id"][:2] / one["new_id"]
    [envelope] = (files.read_envelope(path.name, path.read_bytes()) for path in folder.iterdir() if path.name != "message")
    assert [envelope.fields[key] for key in ("dispatcher", "dest", "ctime")] == ["send", "x@y.test", "1700000000"]
    assert f"discover {one['new_id']}" in host.log.read_text()
    assert host.opensmtpd.orphans() == []
    assert host.to_itself() == {"carried": [], "kept": []}


def test_what_smtpd_knows_or_cannot_read_is_left_to_it(host):
    (host.tmp / "smtpd.conf").write_text('action "deliver" lmtp "/x"\ninclude "/etc/mail/more.conf"\n')
    folder = host.in_opensmtpd("0a0b0c0d")
    (folder / "0a0b0c0d00000000").write_text("damaged")
    before = host.left("smtpd")
    names = [path.name for path in folder.iterdir() if path.name != "message"]
    (host.tmp / "log.queue").write_text("".join(f"{name}|inet4|mta||me@example.org|x@y.test\n" for name in names))
    assert host.to_itself() == {"carried": [], "kept": []}
    assert host.left("smtpd") == before
    host.script("smtpctl", "#!/bin/sh\necho smtpd does not run; exit 1\n")
    with pytest.raises(queue_migrate.StuckQueueError) as caught:
        host.to_itself()
    assert str(caught.value) == "`smtpctl show queue` ended with 1: smtpd does not run; what is left stays where it is"
    assert host.left("smtpd") == before


def test_a_number_that_is_taken_by_another_message(host):
    host.in_postfix("deferred/A", "4jXRdeferred")
    first = files.message_id("postfix/4jXRdeferred")
    host.in_opensmtpd(first)
    result = host.to_opensmtpd()
    assert result["carried"][0]["new_id"] == files.message_id("postfix/4jXRdeferred", 1)


def test_stopping(host, monkeypatch):
    stopped = host.tmp / "stopped"
    assert queue_migrate.stop(host.postfix, ["touch", str(stopped)], 1) is True and stopped.exists()
    with open(host.in_postfix("active", "4jXRactive0"), "rb"):
        assert queue_migrate.stop(host.postfix, ["true"], 0.3) is False
    assert queue_migrate.stop(host.postfix, ["true"], 0.3) is True
    (host.tmp / "log.queue").write_text("1|local|mta||a@b|c@d|c@d|1|1|0|0|inflight|3|\n")
    assert queue_migrate.stop(host.opensmtpd, ["true"], 0.3) is False
    (host.tmp / "log.queue").write_text("")
    assert queue_migrate.stop(host.opensmtpd, ["true"], 0.3) is True
    with pytest.raises(MailError) as caught:
        queue_migrate.stop(host.opensmtpd, ["sh", "-c", "echo no >&2; exit 4"], 1)
    assert str(caught.value) == "`sh -c echo no >&2; exit 4` ended with 4: no"


def test_stopping_where_nobody_knows_who_has_a_file_open(host, monkeypatch):
    isdir = queue_migrate.os.path.isdir
    monkeypatch.setattr(queue_migrate.os.path, "isdir", lambda path: isdir(path) and not str(path).startswith("/proc"))
    host.in_postfix("deferred/A", "4jXRdeferred")
    assert queue_migrate.stop(host.postfix, ["true"], 0.3) is True
    host.in_postfix("active", "4jXRactive0")
    assert queue_migrate.stop(host.postfix, ["true"], 0.3) is False
