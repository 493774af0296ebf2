# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DKIM private keys in files: read, make and place them. What a record says of them is decided in _dkim.py.

No exception text of the cryptography library is passed on, and no object here shows its content in ``repr``: a private key
must not reach a log by way of an error.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import glob
import grp
import hashlib
import os
import pwd
import re
import stat
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _dkim, _dkimproxy, _names, _safe_files
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

    CRYPTOGRAPHY_ERROR = None
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()

FILE_OCTETS = 65536  # far above the largest key, far below what would hurt to read
LOCK_SECONDS = 600  # a run that makes the keys of hundreds of domains holds the lock for minutes

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


class PrivateKey:
    """A private key with the octets of its file. Only its public facts can be seen."""

    __slots__ = ("_key", "data", "facts")

    def __init__(self, key: Any, data: bytes, form: str) -> None:
        self._key = key
        self.data = data
        self.facts = _public_facts(key.public_key(), form)

    def __repr__(self) -> str:
        return f"<PrivateKey {self.facts.algorithm} {self.facts.fingerprint}>"

    def encoded(self, form: str) -> PrivateKey:
        """Return the same key in another format."""
        return PrivateKey(self._key, _encode(self._key, form), form)

    def public_pem(self) -> bytes:
        """Return the public key as SubjectPublicKeyInfo in PEM form."""
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_facts(public: Any, form: str) -> _dkim.KeyFacts:
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = hashlib.sha256(spki).hexdigest()
    if isinstance(public, rsa.RSAPublicKey):
        return _dkim.KeyFacts("rsa", public.key_size, base64.b64encode(spki).decode("ascii"), fingerprint, form)
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return _dkim.KeyFacts("ed25519", 256, base64.b64encode(raw).decode("ascii"), fingerprint, form)


def _encode(key: Any, form: str) -> bytes:
    plain = serialization.NoEncryption()
    if form == "seed":
        seed = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, plain)
        return base64.b64encode(seed) + b"\n"
    layout = serialization.PrivateFormat.TraditionalOpenSSL if form == "pkcs1" else serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, layout, plain)


def generate(algorithm: str, bits: int, form: str | None = None) -> PrivateKey:
    """Make a key. ``form`` None is the first of :data:`_dkim.FORMATS`."""
    form = form or _dkim.FORMATS[algorithm][0]
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else rsa.generate_private_key(65537, bits)
    return PrivateKey(key, _encode(key, form), form)


def _load(data: bytes) -> Any:
    """Load a private key without the library's test for primes: it takes 40 ms a key, and :func:`_sound` finds damage in one."""
    try:
        return serialization.load_pem_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # cryptography 38 does not know the option and always tests
        return serialization.load_pem_private_key(data, password=None)


def _sound(key: Any) -> bool:
    """Whether the numbers of an RSA key belong together (RFC 8017 section 3.2) and what it signs verifies."""
    if not isinstance(key, rsa.RSAPrivateKey):
        return True
    it = key.private_numbers()
    e, n = it.public_numbers.e, it.public_numbers.n
    if min(it.p, it.q, e) < 3 or it.p * it.q != n or it.d % (it.p - 1) != it.dmp1 or it.d % (it.q - 1) != it.dmq1:
        return False
    if e * it.dmp1 % (it.p - 1) != 1 or e * it.dmq1 % (it.q - 1) != 1 or it.q * it.iqmp % it.p != 1:
        return False
    try:
        signature = key.sign(b"", padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, b"", padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


def parse(data: bytes, path: str) -> PrivateKey:
    """Return the private key that a file holds.

    Read are PEM (PKCS#1 and PKCS#8) as openssl, opendkim-genkey and rspamadm write it, and the base64 of an Ed25519 seed, alone or
    followed by its public key, as dkimpy's and rspamadm's key makers do.

    :raises MailError: anything else: damaged, encrypted, not private, or a key of no use for DKIM
    """
    blocks = _BLOCK.findall(data)
    if not blocks:
        return _parse_seed(data, path)
    if len(blocks) > 1:
        raise MailError(f"path {path!r} holds {len(blocks)} PEM blocks; a key file for DKIM holds one private key")
    label, body = blocks[0][0].decode("ascii"), blocks[0][1]
    if label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in body:
        raise MailError(f"path {path!r} holds an encrypted private key; signers need it without a passphrase")
    if label not in ("RSA PRIVATE KEY", "PRIVATE KEY"):
        raise MailError(f"path {path!r} holds a {label}; DKIM needs an RSA or Ed25519 private key (RFC 6376, RFC 8463)")
    try:
        key = _load(data)
        sound = _sound(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        sound = False
    if not sound:
        raise MailError(f"path {path!r} holds a damaged private key") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise MailError(f"path {path!r} holds neither an RSA nor an Ed25519 private key (RFC 6376, RFC 8463)")
    return PrivateKey(key, data, "pkcs1" if label == "RSA PRIVATE KEY" else "pkcs8")


def _parse_seed(data: bytes, path: str) -> PrivateKey:
    try:
        raw = base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) not in (32, 64):
        raise MailError(f"path {path!r} holds no private key: neither PEM nor the base64 of an Ed25519 seed")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32])
    if len(raw) == 64 and key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw) != raw[32:]:
        raise MailError(f"path {path!r} holds an Ed25519 key whose public half is not of its seed")
    return PrivateKey(key, data, "seed")


def _octets(option: str, path: str) -> bytes | None:
    """Return what a file holds, at most one octet more than a key may have; None if there is no such file.

    :raises MailError: it cannot be read, is no file, or a link that a service account may have placed
    """
    try:
        data = _safe_files.read(path, FILE_OCTETS + 1)
    except MailError as exc:
        raise MailError(f"{option} {exc}") from None
    except OSError as exc:
        raise MailError(f"{option} {path!r} cannot be read: {exc.strerror}") from None
    if data is None and os.path.islink(path):
        raise MailError(f"{option} {path!r} is a link to a file that does not exist")
    return data


def read(path: str) -> PrivateKey | None:
    """Return the key in a file, None if there is no such file.

    :raises MailError: the file cannot be read or holds no key for DKIM
    """
    data = _octets("path", path)
    if data is None:
        return None
    if len(data) > FILE_OCTETS:
        raise MailError(f"path {path!r} holds no private key: it is larger than {FILE_OCTETS} octets")
    return parse(data, path)


def read_public(path: str) -> _dkim.KeyFacts | None:
    """Return the facts of the public key in a file, None if there is no such file.

    :raises MailError: the file holds anything but one RSA or Ed25519 SubjectPublicKeyInfo in PEM form
    """
    data = _octets("public_path", path)
    if data is None:
        return None
    block = _BLOCK.fullmatch(data.strip())
    key = None
    if block and block[1] == b"PUBLIC KEY":
        with contextlib.suppress(ValueError, UnsupportedAlgorithm):
            key = serialization.load_pem_public_key(data)
    if not isinstance(key, (rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        raise MailError(f"public_path {path!r} holds something else than one RSA or Ed25519 public key in PEM form; it is left as it is")
    return _public_facts(key, "spki")


def file_path(option: str, value: str) -> str:
    """Return the path of a file to write, links resolved.

    :raises MailError: not absolute, or with a link that a service account may have placed
    """
    if not os.path.isabs(value):
        raise MailError(f"{option} {value!r} must be an absolute path")
    try:
        return _safe_files.resolved(value)
    except MailError as exc:
        raise MailError(f"{option} {exc}") from None


@contextlib.contextmanager
def locked(directory: str, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a directory of keys, so that of two runs one makes a key and the other finds it.

    The lock is on the directory itself and leaves no file behind.
    """
    with _safe_files.place(directory, follow=False) as found:
        handle = found.open(os.O_RDONLY | os.O_DIRECTORY)
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > until:
                    raise MailError(f"directory {directory!r} is locked by another run for more than {seconds:g} seconds") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _temporary(found: _safe_files.Place) -> _safe_files.Place:
    return found.beside(f".{found.name}.new")


def clean(path: str) -> None:
    """Remove what a run that was killed while placing ``path`` left. Call it with the lock held."""
    with contextlib.suppress(FileNotFoundError), _safe_files.place(path, follow=False) as found:
        _temporary(found).unlink()


def place(path: str, data: bytes, prepare: Callable[[int], object], replace: bool, times: tuple[int, int] | None = None) -> None:
    """Give a file its whole content at once: written, given its owner and mode by ``prepare``, synced, then named.

    :param prepare: takes the descriptor of the new file
    :param replace: whether a file that is there is replaced; one that appeared unexpectedly is not
    :param times: access and modification time in nanoseconds, of a key that is copied
    """
    with _safe_files.place(path, follow=False) as found:
        temporary = _temporary(found)
        temporary.unlink()
        handle = temporary.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        folders = {"src_dir_fd": found.folder, "dst_dir_fd": found.folder}
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                prepare(handle)
                if times is not None:
                    os.utime(handle, ns=times)
                os.fsync(handle)
            if replace:
                os.rename(temporary.name, found.name, **folders)
            else:
                try:
                    os.link(temporary.name, found.name, **folders, follow_symlinks=False)
                except FileExistsError:
                    raise MailError(f"path {path!r} was made by something else during this run; nothing of it was changed") from None
        finally:
            temporary.unlink()
        found.sync()


def remove(path: str) -> None:
    """Remove a file; what a link points to stays."""
    with _safe_files.place(path, follow=False) as found:
        found.unlink()


def keep_copy(path: str) -> str:
    """Keep the file under a second name, as a link so that its owner and mode come with it; return that name."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    with _safe_files.place(path, follow=False) as found:
        for suffix in ("~", *(f".{number}~" for number in range(2, 1000))):
            name = f"{found.name}.{stamp}{suffix}"
            try:
                os.link(found.name, name, src_dir_fd=found.folder, dst_dir_fd=found.folder, follow_symlinks=False)
                return os.path.join(os.path.dirname(path), name)
            except FileExistsError:
                continue
    raise MailError(f"path {path!r} has too many backups of this second")


class Step(NamedTuple):
    """What is to happen to one key file, decided before anything is written."""

    path: str | None  # None: of a key whose name is made of its digest, and which is yet to be made
    action: str  # keep, create, replace, encode, copy
    old: PrivateKey | None
    new: PrivateKey | None  # known beforehand for encode and copy
    algorithm: str
    bits: int
    format: str | None
    source: str | None
    warnings: list[str]

    @property
    def facts(self) -> _dkim.KeyFacts | None:
        """The facts of the key that will be there; None when it is yet to be made."""
        key = self.new or (self.old if self.action == "keep" else None)
        return key.facts if key else None


def _decided(path: str, key: PrivateKey | None, algorithm: str, bits: int, form: str | None, regenerate: str) -> tuple[str, list[str]]:
    try:
        return _dkim.decide(key.facts if key else None, algorithm, bits, form, regenerate)
    except MailError as exc:
        raise MailError(f"path {path!r}: {exc}") from None


def plan(
    path: str | None, algorithm: str, bits: int, form: str | None = None, regenerate: str = "never", source: str | None = None
) -> Step:
    """Look at a key file and decide what happens to it. Changes nothing.

    :param path: None for a new key whose name is made of its digest
    :param source: a key elsewhere that is copied if there is none here
    :raises MailError: what is there, or at the source, is no key that DKIM can use
    """
    old = None if path is None else read(path)
    action, warnings = _decided(path, old, algorithm, bits, form, regenerate)
    new = None
    if action == "create" and source is not None:
        new = read(source)
        if new is None:
            raise MailError(f"path {source!r} does not exist any more")
        _keep, warnings = _decided(source, new, algorithm, bits, form, "never")
        action = "copy"
        if silent(new.facts):
            new = new.encoded("seed")
    elif action == "encode":
        new = old.encoded(form)
    return Step(path, action, old, new, algorithm, bits, form, source, warnings)


def silent(facts: _dkim.KeyFacts) -> bool:
    """Whether Rspamd before 3.13.2 signs nothing with this key, and says so in its log alone: Ed25519 in PEM."""
    return facts.algorithm == "ed25519" and facts.format == "pkcs8"


def carry_out(step: Step, prepare: Callable[[int], object], backup: bool = False) -> tuple[PrivateKey, str | None]:
    """Do what :func:`plan` decided; return the key that is there now and the path of the backup, if one was made."""
    if step.action == "keep":
        return step.old, None
    key = step.new or generate(step.algorithm, step.bits, step.format)
    replace = step.action in ("replace", "encode")
    kept = keep_copy(step.path) if replace and backup else None
    times = None
    if step.action == "copy":
        found = os.stat(step.source)
        times = (found.st_atime_ns, found.st_mtime_ns)
    try:
        place(step.path, key.data, prepare, replace, times)
    except BaseException:
        if kept:
            remove(kept)
        raise
    return key, kept


class Attributes:
    """Owner, group and mode of the files of one task."""

    def __init__(self, module: Any) -> None:
        """:raises MailError: owner or group does not exist; in check mode they may come with a package, and are then left out"""
        self._module = module
        self.uid = self._number("owner", lambda name: pwd.getpwnam(name).pw_uid)
        self.gid = self._number("group", lambda name: grp.getgrnam(name).gr_gid)

    def _number(self, option: str, find: Callable[[str], int]) -> int | None:
        value = self._module.params.get(option)
        if value is None:
            return None
        try:
            return find(value)
        except KeyError:
            if re.fullmatch("[0-9]+", str(value)):
                return int(value)
            if not self._module.check_mode:
                raise MailError(f"{option} {value!r} does not exist on this host") from None
            return None

    def give(self, handle: int, mode: Any = None, check: bool = False) -> bool:
        """Give what is open its attributes; return whether that changes (with C(check): would change) anything."""
        wanted = mode if mode is not None else self._module.params.get("mode")
        octal = None if wanted is None else self.octal(os.fstat(handle), wanted)
        return _safe_files.change(handle, self.uid, self.gid, octal, check)

    def correct(self, path: str, diff: dict | None = None, mode: Any = None, directory: bool = False) -> bool:
        """Give a file that is there its attributes; return whether that changes anything (in check mode: would)."""
        flags = os.O_RDONLY | (os.O_DIRECTORY if directory else 0)
        with _safe_files.place(path, follow=False) as found:
            handle = found.open(flags)
        try:
            before = self._shown(os.fstat(handle))
            changed = self.give(handle, mode, check=True)
            if changed and diff is not None:
                wanted = mode if mode is not None else self._module.params.get("mode")
                info = os.fstat(handle)
                after = {
                    "owner": info.st_uid if self.uid is None else self.uid,
                    "group": info.st_gid if self.gid is None else self.gid,
                    "mode": f"{stat.S_IMODE(info.st_mode) if wanted is None else self.octal(info, wanted):04o}",
                }
                for name in before:
                    if before[name] != after[name]:
                        diff["before"][name], diff["after"][name] = before[name], after[name]
            if changed and not self._module.check_mode:
                self.give(handle, mode)
        finally:
            os.close(handle)
        return changed

    @staticmethod
    def _shown(info: os.stat_result) -> dict[str, Any]:
        return {"owner": info.st_uid, "group": info.st_gid, "mode": f"{stat.S_IMODE(info.st_mode):04o}"}

    def octal(self, found: os.stat_result, mode: Any) -> int:
        """Return a mode as a number.

        :raises MailError: neither octal nor symbolic
        """
        try:
            return mode if isinstance(mode, int) else int(mode, 8)
        except (TypeError, ValueError):
            try:
                return self._module._symbolic_mode_to_octal(found, mode)
            except (AttributeError, TypeError, ValueError):
                raise MailError(f"mode {mode!r} is neither an octal number nor symbolic, such as '0600' or 'u=rw,g=r'") from None

    def check_key(self, path: str | None) -> None:
        """Judge the mode that a private key, new or there, is to have. Its group may read it: that of a signer which is not root.

        :raises MailError: the mode is none, or opens the key to everyone
        """
        mode = self._module.params.get("mode")
        if mode is None:
            return
        found = os.lstat(path) if path and os.path.lexists(path) else os.stat_result((stat.S_IFREG | 0o600, *[0] * 9))
        if self.octal(found, mode) & 0o007:
            raise MailError(f"mode {mode!r} would open a private key to everyone on this host")


def _pattern(directory: str, template: str, domain: str, selector: str | None, option: str) -> tuple[str, re.Pattern[str]]:
    """Return a glob and a regular expression for a template with {domain} and {selector}, below a directory.

    The selector of a file that is found by its name is one label: with several, the file of another domain could be meant.
    """
    pieces = re.split(r"(\{[a-z]*\})", template)
    shell, regex, seen = glob.escape(directory), re.escape(directory), False
    for piece in pieces:
        if piece == "{domain}":
            shell += glob.escape(domain)
            regex += re.escape(domain)
        elif piece == "{selector}":
            shell += glob.escape(selector) if selector else "*"
            regex += re.escape(selector) if selector else ("(?P=selector)" if seen else "(?P<selector>[A-Za-z0-9-]+)")
            seen = True
        elif piece.startswith("{"):
            raise MailError(f"{option} {template!r} has {piece!r}; known are {{domain}} and {{selector}}")
        else:
            shell += glob.escape(piece)
            regex += re.escape(piece)
    if "{domain}" not in pieces or "{selector}" not in pieces:
        raise MailError(f"{option} {template!r} must hold {{domain}} and {{selector}}")
    return shell, re.compile(rf"^{regex}\Z")


class Candidate(NamedTuple):
    """A key file that was found by its name. The newest sorts first."""

    age: int
    selector: str
    path: str


def candidates(directory: str, template: str, domain: str, selector: str | None, option: str) -> list[Candidate]:
    """Return the key files of a domain, the newest (by modification time, then by selector) first."""
    shell, regex = _pattern(directory, template, domain, selector, option)
    found = []
    for path in glob.glob(shell):
        match = regex.match(path)
        if not match or not os.path.isfile(path):
            continue
        name = selector or match.group("selector")
        with contextlib.suppress(MailError):
            found.append(Candidate(os.stat(path).st_mtime_ns, _names.selector(name), path))
    return sorted(found, reverse=True)


class Member(NamedTuple):
    """One domain of a keyring, decided."""

    domain: str
    selector: str | None  # None: it is made of the digest of a key that is yet to be made
    selectors: list[str]
    step: Step
    others: list[tuple[str, PrivateKey]]  # further keys of the domain, by their selectors, the newest first
    moved: Sequence[Step] = ()  # copies of those of them that are still where an earlier release had them


def key_path(directory: str, file_pattern: str, domain: str, selector: str) -> str:
    """Return where the key of a domain and selector is."""
    return os.path.join(directory, file_pattern.replace("{domain}", domain).replace("{selector}", selector))


def _readable(found: list[Candidate], selector: str | None) -> list[tuple[Candidate, PrivateKey]]:
    """Return the keys of some files, without the one of a selector."""
    keys = []
    for candidate in found:
        # One that cannot be read neither signs nor had a record that we know.
        with contextlib.suppress(MailError):
            key = read(candidate.path) if candidate.selector != selector else None
            if key is not None:
                keys.append((candidate, key))
    return keys


def named(member: Member, directory: str, file_pattern: str, default_selector: str) -> Member:
    """Return a member with its selector. Where that is made of the key's digest, the key is made for it, and not yet written."""
    if member.selector is not None:
        return member
    step = member.step
    key = generate(step.algorithm, step.bits, step.format)
    selector = _dkim.selector(default_selector, key.facts.fingerprint)
    step = step._replace(path=key_path(directory, file_pattern, member.domain, selector), new=key)
    return member._replace(selector=selector, selectors=[selector], step=step)


def plan_keyring(
    directory: str,
    file_pattern: str,
    domains: Mapping[str, Mapping[str, Any]],
    default_selector: str,
    adopt: list[str],
    dkimproxy: Mapping[str, _dkimproxy.Signer] | None = None,
    former: Sequence[str] = (),
) -> list[Member]:
    """Decide about all domains of a keyring, in order of name. Changes nothing.

    :param domains: canonical domain to ``selector`` (or None), ``algorithm``, ``bits``
    :param default_selector: how the selector of a new key begins; see :func:`_dkim.selector`
    :param dkimproxy: canonical domain to the key that dkimproxy signs with
    :param former: directories where an earlier release had the keys: all those of a domain that has none in ``directory`` are copied
    :raises MailError: one of the files is no key that DKIM can use: then nothing at all is written
    """
    if "/" in file_pattern or file_pattern.startswith("."):
        raise MailError(f"file_pattern {file_pattern!r} must be a file name: no slash and no leading dot")
    base = os.path.join(directory, "")
    members = []
    for domain in sorted(domains):
        wanted = domains[domain]
        selector = wanted.get("selector")
        all_here = candidates(base, file_pattern, domain, None, "file_pattern")
        here = candidates(base, file_pattern, domain, selector, "file_pattern") if selector else all_here
        before = [] if all_here or here else [
            found for place_ in former for found in candidates(os.path.join(place_, ""), file_pattern, domain, None, "file_pattern")
        ]  # fmt: skip
        source = None
        if here:
            selector = here[0].selector
        else:
            elsewhere = [found for place_ in adopt for found in candidates("", place_, domain, selector, "adopt")]
            elsewhere += [found for found in before if selector in (None, found.selector)]
            signer = (dkimproxy or {}).get(domain)
            if signer and selector in (None, signer.selector) and os.path.isfile(signer.keyfile):
                elsewhere.append(Candidate(os.stat(signer.keyfile).st_mtime_ns, signer.selector, signer.keyfile))
            # Where an earlier release had its keys, there are those in use.
            best = sorted(elsewhere, key=lambda found: (found in before, found), reverse=True)[:1]
            for found in best:
                selector, source = found.selector, found.path
        path = here[0].path if here else key_path(directory, file_pattern, domain, selector) if selector else None
        try:
            _dkim.name(selector or _dkim.selector(default_selector, "0" * 64), domain)
            step = plan(path, wanted["algorithm"], wanted["bits"], source=source)
        except MailError as exc:
            raise MailError(f"domain {domain!r}: {exc}") from None
        moved = _readable(before, selector)
        others = [(found.selector, key) for found, key in _readable(all_here, selector) + moved]
        moves = [
            Step(key_path(directory, file_pattern, domain, found.selector), "copy", None, key, key.facts.algorithm, key.facts.bits, None,
                 found.path, [])
            for found, key in moved
        ]  # fmt: skip
        selectors = [found.selector for found in here] or ([selector] if selector else [])
        members.append(Member(domain, selector, selectors, step, others, moves))
    return members
