# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The queue of this host's MTA: listed and changed, message by message, in the same way with Postfix and OpenSMTPD."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterator, Sequence

from postmaster_mail import opensmtpd, postfix
from postmaster_mail.host import Host
from postmaster_mail.text import Failure
from postmaster_mail.waiting import Waiting


class Queue:
    """Every change takes queue ids and returns those of the messages that it was done for; others were not there any more."""

    def messages(self) -> list[Waiting]:
        """Return what waits.

        :raises Failure: the MTA does not tell
        """
        raise NotImplementedError

    def retry(self, ids: Sequence[str]) -> list[str]:
        """Have messages tried now."""
        raise NotImplementedError

    def hold(self, ids: Sequence[str]) -> list[str]:
        """Keep messages from being tried, also across restarts, until they are released."""
        raise NotImplementedError

    def release(self, ids: Sequence[str]) -> list[str]:
        """Let messages that were held be tried, now and again and again as others."""
        raise NotImplementedError

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete messages for good; nobody is told."""
        raise NotImplementedError


def queue_of(host: Host) -> Queue:
    """Return the queue of the MTA that the host has."""
    return {"postfix": PostfixQueue, "opensmtpd": OpenSmtpdQueue}[host.settings.mta](host)


class PostfixQueue(Queue):
    """By postqueue(1) and postsuper(1)."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def messages(self) -> list[Waiting]:
        try:
            return postfix.waiting(self._host.run(["postqueue", "-j"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise Failure(f"postqueue -j prints what is not understood: {exc}") from exc

    def retry(self, ids: Sequence[str]) -> list[str]:
        done = []
        for one in ids:
            # One that has been delivered meanwhile is none of ours.
            with contextlib.suppress(Failure):
                self._host.run(["postqueue", "-i", one])
                done.append(one)
        return done

    def hold(self, ids: Sequence[str]) -> list[str]:
        return self._change("-h", ids)

    def release(self, ids: Sequence[str]) -> list[str]:
        done = self._change("-H", ids)
        # They lie in the deferred queue now, until their time has come.
        self.retry(done)
        return done

    def delete(self, ids: Sequence[str]) -> list[str]:
        return self._change("-d", ids)

    def _change(self, option: str, ids: Sequence[str]) -> list[str]:
        """postsuper(1) passes over what is not there, and names on standard error what it has changed."""
        said = self._host.both(["postsuper", option, "-"], stdin="".join(f"{one}\n" for one in ids))
        named = set(re.findall(rf"postsuper: (?:[^ :]+: )?({postfix.QUEUE_ID}): ", said))
        return [one for one in ids if one in named]


#: So many messages take smtpctl seconds.
_MANY = 20


class OpenSmtpdQueue(Queue):
    """By smtpctl(8). What it pauses, smtpd forgets to have been paused when it is restarted. So what is held is moved out of its queue,
    into a directory beside, and smtpd discovers it again when it is released."""

    spool = pathlib.Path("/var/spool/smtpd")

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def _aside(self) -> pathlib.Path:
        return self.spool / "held"

    def messages(self) -> list[Waiting]:
        try:
            listed = opensmtpd.waiting(self._host.run(["smtpctl", "show", "queue"]), _Sizes(self.spool))
        except ValueError as exc:
            raise Failure(str(exc)) from exc
        return listed + [one for one in self._held() if one.id not in {known.id for known in listed}]

    def _held(self) -> Iterator[Waiting]:
        for folder in sorted(self._aside.glob("????????")) if self._aside.is_dir() else []:
            envelopes = []
            for path in sorted(folder.glob(f"{folder.name}????????")):
                with contextlib.suppress(OSError, ValueError):
                    envelopes.append(opensmtpd.envelope(path.read_bytes()))
            if envelopes:
                yield opensmtpd.held(folder.name, envelopes, _octets(folder / "message"))

    def retry(self, ids: Sequence[str]) -> list[str]:
        return [one for one in ids if self._envelopes("schedule", one)]

    def hold(self, ids: Sequence[str]) -> list[str]:
        with self._nothing_leaves(len(ids) > _MANY):
            return self._held_back(ids)

    @contextlib.contextmanager
    def _nothing_leaves(self, wanted: bool) -> Iterator[None]:
        """Of many messages those at the end of the list would leave before it is their turn."""
        if wanted:
            self._host.run(["smtpctl", "pause", "mta"])
        try:
            yield
        finally:
            if wanted:
                self._host.run(["smtpctl", "resume", "mta"])

    def _held_back(self, ids: Sequence[str]) -> list[str]:
        done = []
        for one in ids:
            self._envelopes("pause envelope", one)
        # A session that has begun goes on: what is under way is not moved.
        active = {message.id for message in self.messages() if message.state == "active"}
        self._aside.mkdir(mode=0o700, exist_ok=True)
        for one in ids:
            folder = _folder(self.spool, one)
            if one in active or not folder.is_dir():
                self._envelopes("resume envelope", one)
                continue
            os.rename(folder, self._aside / one)
            # It is still in smtpd's memory, which finds no file to remove.
            self._envelopes("remove", one)
            done.append(one)
        return done

    def release(self, ids: Sequence[str]) -> list[str]:
        done = []
        for one in ids:
            folder, target = self._aside / one, _folder(self.spool, one)
            if not folder.is_dir():
                continue
            for path in folder.glob(f"{one}????????"):
                _made_young(path)
            with contextlib.suppress(FileExistsError):  # smtpd makes such directories too, at any time
                target.parent.mkdir(mode=0o700)
                owner = self.spool.joinpath("queue").stat()
                os.chown(target.parent, owner.st_uid, owner.st_gid)
            os.rename(folder, target)
            self._host.run(["smtpctl", "discover", one])
            done.append(one)
        return done

    def delete(self, ids: Sequence[str]) -> list[str]:
        done = []
        for one in ids:
            if (self._aside / one).is_dir():
                shutil.rmtree(self._aside / one)
                done.append(one)
            elif self._envelopes("remove", one):
                done.append(one)
        return done

    def _envelopes(self, command: str, one: str) -> int:
        """Return how many envelopes of a message smtpctl has done something with."""
        match = re.match(r"([0-9]+) envelopes? ", self._host.run(["smtpctl", *command.split(), one], accepted=(0, 1)))
        return int(match[1]) if match else 0


def _folder(spool: pathlib.Path, one: str) -> pathlib.Path:
    return spool / "queue" / one[:2] / one


def _octets(path: pathlib.Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


class _Sizes(dict[str, int]):
    """Looks at a message's size when it is asked for."""

    def __init__(self, spool: pathlib.Path) -> None:
        super().__init__()
        self._spool = spool

    def get(self, key: str, default: int = 0) -> int:  # type: ignore[override]
        return _octets(_folder(self._spool, key) / "message") or default


def _made_young(path: pathlib.Path) -> None:
    """Let an envelope's time in the queue begin now: smtpd would not try one that has expired, but return it."""
    data = path.read_bytes()
    with open(path, "r+b") as stream:
        stream.write(re.sub(rb"(?m)^ctime: [0-9]+$", b"ctime: %d" % time.time(), data))
        stream.truncate()
