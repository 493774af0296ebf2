# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hand the mail that waits in the queue of one mail server over to the other one, on this host, or to itself, configured otherwise.

A message leaves the old queue only after the new server has taken it: its files are written durably where the new server does
not look, are moved into its queue in one step, and the new server has said that it knows them. Killed at any point, nothing is
lost, and the next run goes on: what is in the new queue already is recognised. Only a message that the new server had delivered
between these two steps would be delivered twice.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import os
import pwd
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files as safe
from ansible_collections.postmaster.mail.plugins.module_utils._queue import files

#: Queue files of Postfix with no microseconds in their names are ours: the rest of the name is the inode, as it must be.
_OURS = re.compile(r"00000[0-9A-F]+")
_POSTFIX_NAME = re.compile(r"[0-9A-Za-z]{6,}")
#: An action of smtpd.conf(5): its name.
_ACTION = re.compile(r"^[ \t]*action[ \t]+\"?([^\"\s]+)", re.MULTILINE)


class StuckQueueError(MailError):
    """Not about one message: nothing more can be handed over in this run."""


@dataclass
class Waiting:
    """One message of the old queue: its name, the file to look into, and either what it says or why it must stay."""

    id: str
    path: str
    message: files.Message | None = None
    kept: str = ""
    #: Not yet taken in by the old server: arguments of ``sendmail``, whose user it is, and the text.
    submitted: tuple[list[str], int, int, bytes] | None = None
    #: Files that go when it has been handed over.
    done: Sequence[str] = ()

    def told(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        message = self.message
        return {
            "id": self.id,
            "path": self.path,
            "sender": message.sender if message else "",
            "recipients": [recipient.address for recipient in message.recipients] if message else [],
            "reason": self.kept,
        }


def _run(argv: Sequence[str], data: bytes | None = None, owner: tuple[int, int] | None = None) -> tuple[int, bytes, str]:
    """Run a command; return its exit status, its output and its errors."""
    # OpenBSD's own sendmail is that of the server that is on, the one below /usr/local always Postfix's.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"])
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise StuckQueueError(f"{argv[0]!r} is not installed on this host; what is left stays where it is")
    as_user: dict[str, Any] = {"user": owner[0], "group": owner[1], "extra_groups": []} if owner else {}
    try:
        done = subprocess.run(
            [program, *argv[1:]], input=b"" if data is None else data, capture_output=True, timeout=120, check=False, cwd="/",
            env={**os.environ, "PATH": path, "LC_ALL": "C"}, **as_user,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StuckQueueError(f"`{' '.join(argv)}` did not end within 120 seconds; what is left stays where it is") from None
    return done.returncode, done.stdout, (done.stderr or done.stdout).decode("utf-8", "replace").strip()


def _write(path: str, content: bytes, uid: int, gid: int) -> None:
    with safe.place(path, follow=False) as found:
        handle = found.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fchown(handle, uid, gid)
        os.fsync(handle)


def _opened(path: str) -> tuple[bytes, os.stat_result]:
    """Return what a file holds, and what is known of that very file.

    :raises MailError: a link, or one of several names of a file, that whoever owns the queue may have placed
    """
    with safe.place(path, follow=False) as found:
        handle = found.open()
    with os.fdopen(handle, "rb") as stream:
        return stream.read(), os.fstat(handle)


def _read(path: str) -> bytes:
    return _opened(path)[0]


def _owner(folder: str) -> tuple[int, int]:
    """Return user and group that a queue's files have: those of whoever its directory belongs to."""
    uid = os.stat(folder).st_uid
    try:
        return uid, pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise StuckQueueError(f"{folder} belongs to user {uid}, whom this host does not know") from None


class Postfix:
    """Postfix's queue."""

    name = "postfix"

    def __init__(self, spool: str) -> None:
        self.spool = spool

    def exists(self) -> bool:
        return os.path.isdir(os.path.join(self.spool, "incoming"))

    def _files(self, *queues: str) -> Iterator[tuple[str, str]]:
        """Yield name and path of all files in some of the queues."""
        for queue in queues:
            for folder, _folders, names in sorted(os.walk(os.path.join(self.spool, queue))):
                for name in sorted(names):
                    yield name, os.path.join(folder, name)

    def busy(self) -> bool:
        """Whether a message is being received or delivered this moment.

        Where the system does not show which files are open, as OpenBSD does not, whatever waits for nothing is taken for that.
        """
        wanted = tuple(os.path.join(self.spool, queue) + "/" for queue in ("incoming", "active"))
        if not os.path.isdir("/proc/self"):
            return any(True for _file in self._files("incoming", "active"))
        for process in os.listdir("/proc"):
            if process.isdigit():
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    folder = f"/proc/{process}/fd"
                    for number in os.listdir(folder):
                        with contextlib.suppress(OSError):
                            if os.readlink(f"{folder}/{number}").startswith(wanted):
                                return True
        return False

    def waiting(self) -> Iterator[Waiting]:
        """Yield every message that somebody was told is taken care of."""
        logs_of: dict[str, list[str]] = {}
        for name, path in self._files("defer", "bounce", "trace"):
            logs_of.setdefault(name, []).append(path)
        for name, path in self._files("active", "incoming", "deferred", "hold", "maildrop", "corrupt"):
            queue = os.path.relpath(path, self.spool).partition("/")[0]
            info = os.lstat(path)
            if not stat.S_ISREG(info.st_mode) or not _POSTFIX_NAME.fullmatch(name):
                continue
            # cleanup(8) and postdrop(1) make a file executable when it is whole, and only then say that it is taken.
            if not info.st_mode & stat.S_IXUSR:
                continue
            found = Waiting(name, path)
            if queue in ("hold", "corrupt"):
                found.kept = "it was put on hold" if queue == "hold" else "Postfix found it to be damaged"
            logs = logs_of.get(name, [])
            if any(log.startswith(os.path.join(self.spool, "bounce") + "/") for log in logs):
                found.kept = "its sender has not been told yet of a recipient that refused it"
            try:
                found.message = files.read_postfix(name, _read(path))
                if not found.message.recipients:
                    raise MailError("it has no recipient left")
            except MailError as exc:
                found.kept = found.kept or str(exc)
            found.done = [path, *logs]
            if queue == "maildrop" and found.message and not found.kept:
                message = found.message
                argv = ["-i", "-f", message.sender or "<>", "--", *(recipient.address for recipient in message.recipients)]
                found.submitted = (argv, 0, 0, message.content)
            yield found

    # --- as the one that takes over ---

    def known(self) -> dict[str, str]:
        """Return what an earlier run has moved and is still here; remove what a killed run has not finished.

        :returns: each with the path of its file if that is damaged, else with an empty text
        """
        found = {}
        for name, path in self._files("incoming", "active", "deferred", "hold"):
            if not _OURS.fullmatch(name):
                continue
            with contextlib.suppress(FileNotFoundError, MailError):  # delivered meanwhile, or placed by somebody else
                data, info = _opened(path)
                whole = info.st_mode & stat.S_IXUSR
                try:
                    origin, damaged = files.read_postfix(name, data).attributes.get(files.ORIGIN), ""
                except MailError:  # Postfix's own that is being written, or damaged since
                    origin, damaged = files.origin_in(data) if whole else None, path
                if origin and whole:
                    found[origin] = damaged
                elif origin:
                    safe.unlink(path)
        return found

    def take(self, message: files.Message, origin: str, delivery: Mapping[str, Any]) -> str:
        """Put a message into this queue; return its name there."""
        folder = os.path.join(self.spool, "incoming")
        uid, gid = _owner(folder)
        data = files.write_postfix(message, origin, delivery)
        draft = os.path.join(folder, ".postmaster-mail")  # one name, so that what a killed run has left goes
        with contextlib.suppress(FileNotFoundError):
            safe.unlink(draft)
        _write(draft, data, uid, gid)
        name = f"00000{os.lstat(draft).st_ino:X}"
        path = os.path.join(folder, name)
        if os.path.lexists(path):
            safe.unlink(draft)
            raise MailError(f"{path} exists already")
        safe.rename(draft, path)
        status, output, said = _run(["postcat", "-bhq", name])
        if status or output != message.content:
            safe.unlink(path)
            raise MailError(f"Postfix does not understand it: {said if status else 'it reads another text'}")
        safe.give(path, uid, gid, 0o700)
        safe.sync(folder)
        return name

    def begin(self) -> None:
        """Have the new messages delivered."""
        _run(["postqueue", "-f"])


class OpenSmtpd:
    """OpenSMTPD's queue."""

    name = "opensmtpd"

    def __init__(self, spool: str, configurations: Sequence[str] = ("/etc/smtpd.conf", "/etc/mail/smtpd.conf")) -> None:
        self.spool = spool
        self.queue = os.path.join(spool, "queue")
        self.configurations = configurations

    def exists(self) -> bool:
        return os.path.isdir(self.queue)

    def busy(self) -> bool:
        """Whether a message is being received or delivered this moment."""
        if any(os.scandir(os.path.join(self.spool, "incoming"))):
            return True
        status, output, _said = _run(["smtpctl", "show", "queue"])
        return status == 0 and any(line.split(b"|")[11:12] == [b"inflight"] for line in output.splitlines())

    def waiting(self) -> Iterator[Waiting]:
        """Yield every message that somebody was told is taken care of."""
        for bucket in sorted(os.listdir(self.queue)):
            for name in sorted(os.listdir(os.path.join(self.queue, bucket))):
                yield from self._message(name, os.path.join(self.queue, bucket, name))
        offline = os.path.join(self.spool, "offline")
        for name in sorted(os.listdir(offline)) if os.path.isdir(offline) else ():
            path = os.path.join(offline, name)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            try:
                data, info = _opened(path)
            except MailError as exc:
                yield Waiting(name, path, kept=str(exc))
                continue
            if info.st_size:
                argv, content = files.read_offline(data)
                yield Waiting(name, path, submitted=(argv, info.st_uid, info.st_gid, content), done=[path])

    def orphans(self) -> list[str]:
        """Return the envelopes for actions that the configuration's own file does not have."""
        actions: set[str] = set()
        for path in self.configurations:
            with contextlib.suppress(OSError):
                actions.update(_ACTION.findall(_read(path).decode("utf-8", "surrogateescape")))
        return [path for path in sorted(glob.glob(f"{self.queue}/??/????????/????????????????")) if self._orphan(path, actions)]

    def left(self) -> Iterator[Waiting]:
        """Yield every message for an action that the configuration has no more: smtpd, which runs, passes over it without a word."""
        orphans = self.orphans()
        if not orphans:
            return
        # What an included file defines, smtpd knows and shows.
        status, output, said = _run(["smtpctl", "show", "queue"])
        if status:
            raise StuckQueueError(f"`smtpctl show queue` ended with {status}: {said}; what is left stays where it is")
        shown = {line.partition(b"|")[0].decode() for line in output.splitlines()}
        orphans = [path for path in orphans if os.path.basename(path) not in shown]
        for folder in sorted({os.path.dirname(path) for path in orphans}):
            yield from self._message(os.path.basename(folder), folder, {os.path.basename(path) for path in orphans})

    def _orphan(self, path: str, actions: set[str]) -> bool:
        try:
            return files.read_envelope(os.path.basename(path), _plain(_read(path))).fields.get("dispatcher") not in actions
        except (FileNotFoundError, MailError):  # delivered meanwhile; or smtpd itself cannot read it either
            return False

    def _message(self, name: str, folder: str, wanted: set[str] | None = None) -> Iterator[Waiting]:
        path = os.path.join(folder, "message")
        envelopes: list[files.Envelope] = []
        paths = []
        for entry in sorted(os.listdir(folder) if wanted is None else wanted.intersection(os.listdir(folder))):
            if not re.fullmatch(r"[0-9a-f]{16}", entry):
                continue
            whole = os.path.join(folder, entry)
            try:
                envelope = files.read_envelope(entry, _plain(_read(whole)))
                if envelope.kept_because:
                    raise MailError(envelope.kept_because)
                envelopes.append(envelope)
                paths.append(whole)
            except MailError as exc:
                yield Waiting(entry, whole, kept=str(exc))
        if envelopes:
            found = Waiting(name, path, done=paths)
            try:
                found.message = files.read_opensmtpd(name, envelopes, _plain(_read(path)))
            except FileNotFoundError:
                found.kept = "its text is missing"
            except MailError as exc:
                found.kept = str(exc)
            yield found

    def clear(self) -> None:
        """Remove the texts that no envelope is left of: a killed run has handed these messages over."""
        for path in glob.glob(f"{self.queue}/??/????????/message"):
            _remove_rest(os.path.dirname(path))

    # --- as the one that takes over ---

    def known(self) -> dict[str, str]:
        """Nothing is known beforehand: ``take`` finds what is here by its name."""
        return {}

    def _check_form(self) -> None:
        """See that smtpd reads plain files from its queue."""
        for path in self.configurations:
            with contextlib.suppress(OSError):
                found = re.search(rb"^[ \t]*queue[ \t]+(encryption|compression)\b", _read(path), re.MULTILINE)
                if found:
                    raise MailError(f"{path} asks for queue {found[1].decode()}, which only smtpd itself can write")

    def take(self, message: files.Message, origin: str, delivery: Mapping[str, Any]) -> str:
        """Put a message into this queue; return its name there."""
        self._check_form()
        uid, gid = _owner(self.queue)
        for attempt in range(100):
            msgid = files.message_id(origin, attempt)
            envelopes = files.write_opensmtpd(message, msgid, delivery)
            bucket = os.path.join(self.queue, msgid[:2])
            there = os.path.join(bucket, msgid)
            if not os.path.isdir(there):
                break
            if set(os.listdir(there)) & set(envelopes):
                # smtpd counts envelopes each time that it is told of them, so it is told once.
                if msgid.encode() not in _run(["smtpctl", "show", "queue"])[1]:
                    self._discover(msgid, there)
                return msgid
        else:
            raise MailError("no number is free for it")
        draft = os.path.join(self.spool, "incoming", msgid)
        shutil.rmtree(draft, ignore_errors=True)
        # Root's until it is whole: whoever owns the queue can put nothing into it.
        safe.mkdir(draft, os.geteuid(), os.getegid())
        for name, content in {**envelopes, "message": message.content}.items():
            _write(os.path.join(draft, name), content, uid, gid)
        safe.sync(draft)
        safe.give(draft, uid, gid)
        with contextlib.suppress(FileExistsError):
            safe.mkdir(bucket, uid, gid)
        safe.rename(draft, there)
        safe.sync(bucket)
        safe.sync(self.queue)
        self._discover(msgid, there)
        return msgid

    def _discover(self, msgid: str, folder: str) -> None:
        """Tell smtpd of a message, and see that it has understood all of it."""
        envelopes = [name for name in os.listdir(folder) if name != "message"]
        status, output, said = _run(["smtpctl", "discover", msgid])
        found = re.match(rb"(\d+) envelope", output)
        if status or not found or int(found[1]) != len(envelopes):
            raise StuckQueueError(
                f"smtpd does not take {folder} over: `smtpctl discover {msgid}` says {said!r}; what is left stays where it is"
            )

    def begin(self) -> None:
        """What smtpd has discovered it delivers by itself."""


def _plain(data: bytes) -> bytes:
    """Return what smtpd may have compressed."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as exc:
        raise MailError(f"it cannot be uncompressed: {exc}") from exc


Queue = Union[Postfix, OpenSmtpd]


def queue_of(name: str, spools: Mapping[str, str]) -> Queue:
    """Return the queue of one of the two servers."""
    return Postfix(spools[name]) if name == "postfix" else OpenSmtpd(spools[name])


def stop(source: Queue, command: Sequence[str], patience: float) -> bool:
    """Stop a mail server at a moment when it is neither receiving nor delivering, or after some seconds in any.

    A message that is cut off is sent again by whoever sends it: so none is lost, but one might arrive twice.

    :returns: whether there was such a moment
    """
    end = time.monotonic() + patience
    quiet = not source.exists()
    while not quiet and time.monotonic() < end:
        try:
            quiet = not source.busy()
        except (MailError, OSError):  # it does not run, or is half removed
            quiet = True
        if not quiet:
            time.sleep(0.1)  # a queue has no event to wait for
    status, _output, said = _run(command)
    if status not in (0, 5):  # 5: systemd knows no such service
        raise MailError(f"`{' '.join(command)}` ended with {status}: {said}")
    return quiet


def migrate(source: Queue, target: Queue, delivery: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Hand over all that waits; return what went and what stays.

    From a server to itself, it is what waits for an action that it has no more.

    :returns: ``carried`` and ``kept``, each a list of what :meth:`Waiting.told` gives
    :raises StuckQueueError: the new server does not do its part
    """
    carried: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    known: dict[str, str] | None = None
    waiting = source.left if isinstance(source, OpenSmtpd) and isinstance(target, OpenSmtpd) else source.waiting
    for one in waiting() if source.exists() else ():
        if one.kept:
            kept.append(one.told())
            continue
        if known is None:
            known = {} if check else target.known()
        origin = f"{source.name}/{one.id}"
        name = ""
        try:
            if one.submitted:
                name = "" if check else _submit(one.submitted)
            elif one.message and check:
                files.addressed(one.message, delivery)
            elif one.message and known.get(origin):
                raise MailError(f"an earlier run moved it to {known[origin]}, which is damaged")
            elif one.message and origin not in known:
                name = target.take(one.message, origin, delivery)
        except StuckQueueError:
            raise
        except MailError as exc:
            one.kept = str(exc)
            kept.append(one.told())
            continue
        if not check:
            _remove(one.done)
        carried.append({**one.told(), "new_id": name})
    # From itself to itself smtpd runs, and does that alone.
    if isinstance(source, OpenSmtpd) and isinstance(target, Postfix) and not check:
        source.clear()
    if carried and not check:
        target.begin()
    return {"carried": carried, "kept": kept}


def _submit(submitted: tuple[list[str], int, int, bytes]) -> str:
    argv, uid, gid, content = submitted
    status, _output, said = _run(["sendmail", *argv], content, (uid, gid))
    if status:
        raise MailError(f"sendmail ended with {status}: {said}")
    return ""


def _remove(paths: Sequence[str]) -> None:
    """Remove the files of a message that has been handed over, and its directory when nothing else waits in it."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            safe.unlink(path)
    folder = os.path.dirname(paths[0])
    if not _remove_rest(folder):
        safe.sync(folder)


def _remove_rest(folder: str) -> bool:
    """Remove the directory of a message of OpenSMTPD's, if nobody waits for it any more; return whether that was so."""
    if not re.fullmatch(r"[0-9a-f]{8}", os.path.basename(folder)) or os.listdir(folder) != ["message"]:
        return False
    safe.unlink(os.path.join(folder, "message"))
    safe.rmdir(folder)
    with contextlib.suppress(OSError):
        safe.rmdir(os.path.dirname(folder))
    return True
