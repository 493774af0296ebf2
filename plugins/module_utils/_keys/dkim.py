# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DKIM private keys in files: read, make and place them. What a record says of them is decided in ``_records.dkim``.

No exception text of the cryptography library is passed on, and no object here shows its content in ``repr``: a private key
must not reach a log by way of an error.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import contextlib
import errno
import fcntl
import grp
import hashlib
import os
import pwd
import re
import stat
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim, public_key

try:
    from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.backends import openssl
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

    CRYPTOGRAPHY_ERROR = None
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()

FILE_OCTETS = 65536  # far above the largest key, far below what would hurt to read
EXPONENT_MOST = 2**31 - 1  # Go's crypto/rsa reads no larger one, BoringSSL at most 33 bits
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


def _public_facts(public: Any, form: str) -> dkim.KeyFacts:
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = hashlib.sha256(spki).hexdigest()
    if isinstance(public, rsa.RSAPublicKey):
        return dkim.KeyFacts("rsa", public.key_size, base64.b64encode(spki).decode("ascii"), fingerprint, form)
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return dkim.KeyFacts("ed25519", 256, base64.b64encode(raw).decode("ascii"), fingerprint, form)


def _encode(key: Any, form: str) -> bytes:
    plain = serialization.NoEncryption()
    if form == "seed":
        seed = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, plain)
        return base64.b64encode(seed) + b"\n"
    layout = serialization.PrivateFormat.TraditionalOpenSSL if form == "pkcs1" else serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, layout, plain)


def generate(algorithm: str, bits: int, form: str | None = None) -> PrivateKey:
    """Make a key. ``form`` None is the first of :data:`_records.dkim.FORMATS`."""
    form = form or dkim.FORMATS[algorithm][0]
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else rsa.generate_private_key(65537, bits)
    return PrivateKey(key, _encode(key, form), form)


def _load(data: bytes) -> Any:
    """Load a private key without the library's test for primes: it takes 40 ms a key, and :func:`_sound` finds damage in one."""
    try:
        return serialization.load_pem_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # cryptography 38 has a switch for the same in the place of the option, or the key is encrypted
        with _unvalidated():
            return serialization.load_pem_private_key(data, password=None)


@contextlib.contextmanager
def _unvalidated() -> Iterator[None]:
    """Switch the test off that cryptography 38, Debian 12's own, would make; a release without the switch makes it."""
    switches = getattr(openssl, "backend", None)
    before = getattr(switches, "_rsa_skip_check_key", None)
    if before is None:
        yield
        return
    switches._rsa_skip_check_key = True
    try:
        yield
    finally:
        switches._rsa_skip_check_key = before


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
        labels = ", ".join(label.decode("ascii") for label, _body in blocks)
        raise MailError(f"path {path!r} holds {len(blocks)} PEM blocks ({labels}); a key file for DKIM holds one private key")
    label, body = blocks[0][0].decode("ascii"), blocks[0][1]
    if label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in body:
        raise MailError(f"path {path!r} holds an encrypted private key; signers need it without a passphrase")
    if label not in ("RSA PRIVATE KEY", "PRIVATE KEY"):
        raise MailError(f"path {path!r} holds a {label}; DKIM needs an RSA or Ed25519 private key (RFC 6376, RFC 8463)")
    try:
        key = _load(data)
        sound = _sound(key)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        sound = False
    if not sound:
        raise MailError(f"path {path!r} holds a damaged private key") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise MailError(f"path {path!r} holds neither an RSA nor an Ed25519 private key (RFC 6376, RFC 8463)")
    if isinstance(key, rsa.RSAPrivateKey):
        _check_rsa(key, label, data, path)
    return PrivateKey(key, data, "pkcs1" if label == "RSA PRIVATE KEY" else "pkcs8")


def _check_rsa(key: Any, label: str, data: bytes, path: str) -> None:
    """Check what the library does not say of an RSA key.

    :raises MailError: signatures of DKIM cannot be made with it, or many verifiers cannot check them
    """
    # The library takes a key for PSS as any RSA key; the signers' OpenSSL makes no other signatures with it.
    what = f"path {path!r}"
    if label == "PRIVATE KEY" and not public_key.is_plain_rsa(public_key.pem(data.decode("latin-1"), what)[1]):
        raise MailError(
            f"path {path!r} holds an RSA-PSS key, which is for no other signatures than RSASSA-PSS (RFC 4055 section 1.2); DKIM's are "
            "RSASSA-PKCS1-v1_5 (RFC 6376 section 3.3.2)"
        )
    exponent = key.public_key().public_numbers().e
    if exponent > EXPONENT_MOST:
        raise MailError(
            f"path {path!r} holds an RSA key with a public exponent of {exponent.bit_length()} bits; many verifiers read at most 31, and "
            "65537 is usual (RFC 8017 section 3.1)"
        )


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
        data = safe_files.read(path, FILE_OCTETS + 1)
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


def read_public(path: str) -> dkim.KeyFacts | None:
    """Return the facts of the public key in a file, None if there is no such file.

    :raises MailError: the file holds anything but one RSA or Ed25519 SubjectPublicKeyInfo in PEM form
    """
    data = _octets("public_path", path)
    if data is None:
        return None
    block = _BLOCK.fullmatch(data.strip())
    key = None
    if block and block[1] == b"PUBLIC KEY":
        with contextlib.suppress(ValueError, UnsupportedAlgorithm, MailError):
            public_key.facts(public_key.pem(data.decode("latin-1"), "public_path")[1], "public_path")
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
        return safe_files.resolved(value)
    except MailError as exc:
        raise MailError(f"{option} {exc}") from None


@contextlib.contextmanager
def locked(directory: str, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a directory of keys, so that of two runs one makes a key and the other finds it.

    The lock is on the directory itself and leaves no file behind.
    """
    with safe_files.place(directory, follow=False) as entry:
        handle = entry.open(os.O_RDONLY | os.O_DIRECTORY)
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


def _temporary(entry: safe_files.Place) -> safe_files.Place:
    return entry.beside(f".{entry.name}.new")


def clean(path: str) -> None:
    """Remove what a run that was killed while placing ``path`` left. Call it with the lock held."""
    with contextlib.suppress(FileNotFoundError), safe_files.place(path, follow=False) as entry:
        _temporary(entry).unlink()


def place(path: str, data: bytes, prepare: Callable[[int], object], replace: bool, times: tuple[int, int] | None = None) -> None:
    """Give a file its whole content at once: written, given its owner and mode by ``prepare``, synced, then named.

    :param prepare: takes the descriptor of the new file
    :param replace: whether a file that is there is replaced; one that appeared unexpectedly is not
    :param times: access and modification time in nanoseconds, of a key that is copied
    """
    with safe_files.place(path, follow=False) as entry:
        temporary = _temporary(entry)
        temporary.unlink()
        handle = temporary.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        folders = {"src_dir_fd": entry.folder, "dst_dir_fd": entry.folder}
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                prepare(handle)
                if times is not None:
                    os.utime(handle, ns=times)
                os.fsync(handle)
            if replace:
                os.rename(temporary.name, entry.name, **folders)
            else:
                try:
                    os.link(temporary.name, entry.name, **folders, follow_symlinks=False)
                except FileExistsError:
                    raise MailError(f"path {path!r} was made by something else during this run; nothing of it was changed") from None
        finally:
            temporary.unlink()
        entry.sync()


def remove(path: str) -> None:
    """Remove a file; what a link points to stays."""
    with safe_files.place(path, follow=False) as entry:
        entry.unlink()


def keep_copy(path: str) -> str:
    """Keep the file under a second name, as a link so that its owner and mode come with it; return that name."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    with safe_files.place(path, follow=False) as entry:
        for suffix in ("~", *(f".{number}~" for number in range(2, 1000))):
            name = f"{entry.name}.{stamp}{suffix}"
            try:
                os.link(entry.name, name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder, follow_symlinks=False)
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
    def facts(self) -> dkim.KeyFacts | None:
        """The facts of the key that will be there; None when it is yet to be made."""
        key = self.new or (self.old if self.action == "keep" else None)
        return key.facts if key else None


def _decided(path: str, key: PrivateKey | None, algorithm: str, bits: int, form: str | None, regenerate: str) -> tuple[str, list[str]]:
    try:
        return dkim.decide(key.facts if key else None, algorithm, bits, form, regenerate)
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


def silent(facts: dkim.KeyFacts) -> bool:
    """Whether Rspamd before 3.13.2 signs nothing with this key, and says so in its log alone: Ed25519 in PEM."""
    return facts.algorithm == "ed25519" and facts.format == "pkcs8"


def carry_out(step: Step, prepare: Callable[[int], object], backup: bool = False) -> tuple[PrivateKey, str | None]:
    """Do what :func:`plan` decided; return the key that is there now and the path of the backup, if one was made."""
    if step.action == "keep":
        return step.old, None
    key = step.new or generate(step.algorithm, step.bits, step.format)
    replace = step.action in ("replace", "encode")
    copy = keep_copy(step.path) if replace and backup else None
    times = None
    if step.action == "copy":
        source = os.stat(step.source)
        times = (source.st_atime_ns, source.st_mtime_ns)
    try:
        place(step.path, key.data, prepare, replace, times)
    except BaseException:
        if copy:
            remove(copy)
        raise
    return key, copy


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
        """Give what is open its attributes; return whether that changes (with ``check``: would change) anything."""
        option = mode if mode is not None else self._module.params.get("mode")
        octal = None if option is None else self.octal(os.fstat(handle), option)
        return safe_files.change(handle, self.uid, self.gid, octal, check)

    def correct(self, path: str, diff: dict | None = None, mode: Any = None, directory: bool = False) -> bool:
        """Give a file that is there its attributes; return whether that changes anything (in check mode: would)."""
        flags = os.O_RDONLY | (os.O_DIRECTORY if directory else 0)
        with safe_files.place(path, follow=False) as entry:
            handle = entry.open(flags)
        try:
            before = self._shown(os.fstat(handle))
            changed = self.give(handle, mode, check=True)
            if changed and diff is not None:
                option = mode if mode is not None else self._module.params.get("mode")
                info = os.fstat(handle)
                after = {
                    "owner": info.st_uid if self.uid is None else self.uid,
                    "group": info.st_gid if self.gid is None else self.gid,
                    "mode": f"{stat.S_IMODE(info.st_mode) if option is None else self.octal(info, option):04o}",
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

    def octal(self, info: os.stat_result, mode: Any) -> int:
        """Return a mode as a number.

        :raises MailError: neither octal nor symbolic
        """
        try:
            return mode if isinstance(mode, int) else int(mode, 8)
        except (TypeError, ValueError):
            try:
                return self._module._symbolic_mode_to_octal(info, mode)
            except (AttributeError, TypeError, ValueError):
                raise MailError(f"mode {mode!r} is neither an octal number nor symbolic, such as '0600' or 'u=rw,g=r'") from None

    def check_key(self, path: str | None) -> None:
        """Judge the mode that a private key, new or there, is to have. Its group may read it: that of a signer which is not root.

        :raises MailError: the mode is none, or opens the key to everyone
        """
        mode = self._module.params.get("mode")
        if mode is None:
            return
        info = os.lstat(path) if path and os.path.lexists(path) else os.stat_result((stat.S_IFREG | 0o600, *[0] * 9))
        if self.octal(info, mode) & 0o007:
            raise MailError(f"mode {mode!r} would open a private key to everyone on this host")


class Place(NamedTuple):
    """Where an earlier set-up may have keys."""

    path: str  # may hold {domain}; without it, one key is that of every domain
    selector: str | None  # None: the path holds {selector}
    domains: tuple[str, ...] | None  # None: whichever are asked for

    def serves(self, domain: str) -> bool:
        return self.domains is None or domain in self.domains


def places(items: list[Any], option: str = "adopt") -> list[Place]:
    """Return where to look for keys of an earlier set-up.

    :param items: paths with ``{selector}`` and ``{domain}``, or dictionaries of ``path``, ``selector`` and ``domains``
    :raises MailError: one that does not say which key is whose
    """
    listed = []
    for entry in items:
        settings = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(settings, Mapping) or not isinstance(settings.get("path"), str):
            raise MailError(f"{option} {entry!r} must be a path, or a dictionary with path and selector")
        path, selector, domains = settings["path"], settings.get("selector"), settings.get("domains")
        unknown = sorted(set(settings) - {"path", "selector", "domains"}, key=str)
        if unknown:
            raise MailError(f"{option} {path!r}: unknown {unknown[0]!r}; known are path, selector, domains")
        if not os.path.isabs(path):
            raise MailError(f"{option} {path!r} must be an absolute path")
        _check_placeholders(path, option)
        if selector is not None:
            selector = _names.selector(selector, f"{option} {path!r}: selector")
            path = path.replace("{selector}", selector)
        elif "{selector}" not in path:
            raise MailError(
                f"{option} {path!r} does not say the selector: write {{selector}} where it stands, or {{path: {path}, selector: NAME}}"
            )
        if domains is not None:
            if not isinstance(domains, list):
                raise MailError(f"{option} {path!r}: domains {domains!r} must be a list")
            domains = tuple(_names.domain_name(domain, f"{option} {path!r}: domains") for domain in domains)
        elif isinstance(entry, str) and "{domain}" not in path:
            raise MailError(
                f"{option} {path!r} does not say whose key it is: write {{domain}} where it stands, or for one key of all domains "
                f"{{path: {path}, selector: NAME}}"
            )
        listed.append(Place(path, selector, domains))
    return listed


def _check_placeholders(template: str, option: str) -> None:
    for piece in re.findall(r"\{[a-z]*\}", template):
        if piece not in ("{domain}", "{selector}"):
            raise MailError(f"{option} {template!r} has {piece!r}; known are {{domain}} and {{selector}}")


def _pattern(directory: str, template: str, domain: str) -> re.Pattern[str]:
    """Return a regular expression for a template with {domain} and {selector}, below a directory. The domain's case does not count."""
    regex, seen = re.escape(directory), False
    for piece in re.split(r"(\{domain\}|\{selector\})", template):
        if piece == "{domain}":
            regex += f"(?ai:{re.escape(domain)})"
        elif piece == "{selector}":
            regex += "(?P=selector)" if seen else "(?P<selector>[^/]+)"
            seen = True
        else:
            regex += re.escape(piece)
    return re.compile(rf"^{regex}\Z")


class Names:
    """The names in directories. Each directory is read once, and searched without a look at every name, however many there are."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {}

    def like(self, directory: str, template: str) -> list[str]:
        """Return the names that begin and end as the template does around {selector}, in any case of letters; hidden ones only if it is."""
        if directory not in self._tables:
            names: list[str] = []
            with contextlib.suppress(OSError):
                names = os.listdir(directory)
            self._tables[directory] = sorted((name.lower(), name) for name in names), sorted((name.lower()[::-1], name) for name in names)
        begin, _selector, rest = template.lower().partition("{selector}")
        end = rest.rpartition("{selector}")[2][::-1]
        # What is the longer of both tells one domain's files from another's.
        table, key = (self._tables[directory][0], begin) if len(begin) >= len(end) else (self._tables[directory][1], end)
        found = []
        for at in range(bisect.bisect_left(table, (key, "")), len(table)):
            if not table[at][0].startswith(key):
                break
            found.append(table[at][1])
        return [name for name in found if not name.startswith(".") or template.startswith(".")]


class Candidate(NamedTuple):
    """A key file that was found by its name. The newest sorts first."""

    age: int
    selector: str
    path: str


class Found(NamedTuple):
    """The key files of a domain in one place."""

    keys: list[Candidate]  # the newest (by modification time, then by selector) first
    others: dict[str, str]  # path of a file that is none of these to the reason why


def _reason(selector: str, asked: str | None, configured: bool = False) -> str | None:
    """Return why a file with this selector is not the key of its domain, None if it is.

    :param configured: the selector is that of a configuration, not of the file's name
    """
    if asked is not None:
        return None if selector.lower() == asked else f"the selector that is asked for is {asked!r}"
    if configured:
        return None
    if "." in selector:
        return f"its selector {selector!r} has several labels, or it is the key of another domain: name the selector in dkim.selector"
    try:
        _names.selector(selector)
    except MailError as exc:
        return str(exc)
    return None


class Search:
    """Finds the key files of each of many domains in one place.

    The selector of a file that is found by its name is one label: with several, the file of another domain could be meant.

    :param directory: what the place is below, with its final slash; empty if its path is absolute
    :param domains: those whose files are not taken for another one's
    """

    def __init__(self, directory: str, place_: Place, domains: Iterable[str], names: Names) -> None:
        self.place = place_
        self._directory = directory
        self._domains = domains
        self._names = names
        self._found: dict[str, list[tuple[str, str]]] = {}
        self._claimed: set[str] | None = None

    def candidates(self, domain: str, asked: str | None) -> Found:
        """Return the key files of a domain.

        :param asked: the selector that is asked for
        """
        keys, others = [], {}
        for path, selector in self._matches(domain):
            reason = _reason(selector, asked, self.place.selector is not None)
            if reason is None and not os.path.isfile(path):
                reason = "it is a link to a file that does not exist" if os.path.islink(path) else "it is not a regular file"
            if reason is None:
                keys.append(Candidate(os.stat(path).st_mtime_ns, selector.lower(), path))
            elif "." not in selector or self.place.selector is not None or path not in self._claims():
                others[path] = reason
        return Found(sorted(keys, reverse=True), others)

    def _matches(self, domain: str) -> list[tuple[str, str]]:
        """Return path and selector of what has the name of a key of the domain, and is no directory."""
        if domain not in self._found:
            regex = _pattern(self._directory, self.place.path, domain)
            pairs = ((path, regex.match(path)) for path in self._paths(domain))
            self._found[domain] = [
                (path, self.place.selector or match["selector"]) for path, match in pairs if match and not os.path.isdir(path)
            ]
        return self._found[domain]

    def _paths(self, domain: str) -> list[str]:
        """Return what exists and may match."""
        paths = [self._directory]
        parts = self.place.path.split("/")
        for at, part in enumerate(parts):
            slash = "" if at == len(parts) - 1 else "/"
            if "{domain}" in part or "{selector}" in part:
                part = part.replace("{domain}", domain)
                paths = [f"{path}{name}{slash}" for path in paths for name in self._names.like(path, part)]
            else:
                paths = [f"{path}{part}{slash}" for path in paths]
        return [path for path in paths if os.path.lexists(path)]

    def _claims(self) -> set[str]:
        """Return the paths that the names of domains and a selector of one label make."""
        if self._claimed is None:
            matches = (match for domain in self._domains for match in self._matches(domain))
            self._claimed = {path for path, selector in matches if _reason(selector, None) is None}
        return self._claimed


class Member(NamedTuple):
    """One domain of a keyring, decided."""

    domain: str
    selector: str | None  # None: it is made of the digest of a key that is yet to be made
    selectors: list[str]
    step: Step
    others: list[tuple[str, PrivateKey]]  # further keys of the domain, by their selectors, the newest first
    moved: Sequence[Step]  # copies of those of them that are still where an earlier release had them
    passed_over: dict[str, str]  # path of what looks like a key of the domain, and is not used, to the reason


def key_path(directory: str, file_pattern: str, domain: str, selector: str) -> str:
    """Return where the key of a domain and selector is."""
    return os.path.join(directory, file_pattern.replace("{domain}", domain).replace("{selector}", selector))


def _readable(files: list[Candidate], selector: str | None) -> list[tuple[Candidate, PrivateKey]]:
    """Return the keys of some files, without the one of a selector."""
    keys = []
    for candidate in files:
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
    selector = dkim.selector(default_selector, key.facts.fingerprint)
    step = step._replace(path=key_path(directory, file_pattern, member.domain, selector), new=key)
    return member._replace(selector=selector, selectors=[selector], step=step)


def _elsewhere(
    domain: str, asked: str | None, adopt: Iterable[Search], signers: Mapping[str, list[dkim.Signer]], before: list[Candidate]
) -> Found:
    """Return the keys of a domain that an earlier set-up has, in all places, the one to adopt first.

    :param before: those where an earlier release had its keys: there are those in use
    """
    keys = [file for file in before if asked in (None, file.selector)]
    others: dict[str, str] = {}
    for search in adopt:
        if search.place.serves(domain):
            files = search.candidates(domain, asked)
            keys += files.keys
            others.update(files.others)
    configured = []
    for signer in signers.get(domain, ()):
        reason = _reason(signer.selector, asked, True)
        if reason is None and not os.path.isfile(signer.keyfile):
            reason = "the configuration of the signer before names it, and there is no such file"
        if reason is None:
            configured.append(Candidate(os.stat(signer.keyfile).st_mtime_ns, signer.selector, signer.keyfile))
        else:
            others[signer.keyfile] = reason
    keys += configured
    # What signed until now is published, under the selector that the signer has it.
    keys.sort(key=lambda file: (file in before, file in configured, file), reverse=True)
    for key in keys[1:]:
        if key.path != keys[0].path and key not in before:
            others[key.path] = f"{keys[0].path} is used"
    return Found(keys, others)


def plan_keyring(
    directory: str,
    file_pattern: str,
    domains: Mapping[str, Mapping[str, Any]],
    default_selector: str,
    adopt: list[Place],
    signers: Mapping[str, list[dkim.Signer]] | None = None,
    former: Sequence[str] = (),
) -> list[Member]:
    """Decide about all domains of a keyring, in order of name. Changes nothing.

    :param domains: canonical domain to ``selector`` (or None), ``algorithm``, ``bits``
    :param default_selector: how the selector of a new key begins; see :func:`_records.dkim.selector`
    :param signers: canonical domain to the keys that earlier signers' configurations say that they sign with
    :param former: directories where an earlier release had the keys: all those of a domain that has none in ``directory`` are copied
    :raises MailError: one of the files is no key that DKIM can use: then nothing at all is written
    """
    if "/" in file_pattern or file_pattern.startswith("."):
        raise MailError(f"file_pattern {file_pattern!r} must be a file name: no slash and no leading dot")
    _check_placeholders(file_pattern, "file_pattern")
    if "{domain}" not in file_pattern or "{selector}" not in file_pattern:
        raise MailError(f"file_pattern {file_pattern!r} must hold {{domain}} and {{selector}}")
    names = Names()
    ours, *earlier = (Search(os.path.join(place_, ""), Place(file_pattern, None, None), domains, names) for place_ in (directory, *former))
    places_ = [Search("", place_, domains, names) for place_ in adopt]
    members = []
    used, passed_over = set(), set()
    for domain in sorted(domains):
        options = domains[domain]
        asked = selector = options.get("selector")
        all_here = ours.candidates(domain, None)
        here = (ours.candidates(domain, asked) if asked else all_here).keys
        before = [] if all_here.keys or here else [key for search in earlier for key in search.candidates(domain, None).keys]
        left: dict[str, str] = {}
        source = None
        if here:
            selector = here[0].selector
        else:
            elsewhere = _elsewhere(domain, asked, places_, signers or {}, before)
            # A domain that has a key of ours took over what there was in an earlier run.
            if not all_here.keys and not before:
                left = {**all_here.others, **elsewhere.others}
            for key in elsewhere.keys[:1]:
                selector, source = key.selector, key.path
                if "." in selector and not asked:
                    raise MailError(
                        f"domain {domain!r}: the key {source} has the selector {selector!r} of several labels: name it in dkim.selector, "
                        "or a later run could not tell its copy from the key of another domain"
                    )
        path = here[0].path if here else key_path(directory, file_pattern, domain, selector) if selector else None
        try:
            dkim.name(selector or dkim.selector(default_selector, "0" * 64), domain)
            step = plan(path, options["algorithm"], options["bits"], source=source)
            if step.action == "create" and selector:
                # What an underscore in an existing key's selector may do, that of a new one may not.
                _names.new_selector(selector, "there is no key with this selector yet, and the new selector")
        except MailError as exc:
            raise MailError(f"domain {domain!r}: {exc}") from None
        moved = _readable(before, selector)
        others = [(file.selector, key) for file, key in _readable(all_here.keys, selector) + moved]
        moves = [
            Step(key_path(directory, file_pattern, domain, file.selector), "copy", None, key, key.facts.algorithm, key.facts.bits, None,
                 file.path, [])
            for file, key in moved
        ]  # fmt: skip
        used.add(source)
        selectors = [key.selector for key in here] or ([selector] if selector else [])
        members.append(Member(domain, selector, selectors, step, others, moves, left))
    # What is another domain's is not passed over, and what several domains might have is named once.
    for member in members:
        for path in list(member.passed_over):
            if path in used or path in passed_over:
                del member.passed_over[path]
            passed_over.add(path)
    return members
