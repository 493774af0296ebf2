# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What controller and host must agree on about a configuration tree: paths, patterns, modes, masks, the parcel.

Pure functions; the work on the host's files is in ``engine.py``.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _secret_text
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

#: Beside a file that this collection replaced: what was there before, and what somebody wrote there since.
ORIGINAL_SUFFIX = ".postmaster-orig"
EDITED_SUFFIX = ".postmaster-edited"
#: A stage's name. The leading dot keeps it out of ``*`` in every include glob.
STAGE_PREFIX = ".postmaster-mail-"

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_OCTAL = re.compile(r"^0?[0-7]{3,4}\Z")
_MAGIC = re.compile(r"[*?\[]")
#: Too common in any output to be masked, though they may stand in a secret file.
_ORDINARY = {"true", "false", "none", "null", "auto", "default", "local", "root", "system", "user", "name", "password", "secret"}

ARGUMENT_SPEC: dict[str, Any] = {
    "id": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
    "src": {"type": "str"},
    "files": {"type": "str"},
    "dest": {"type": "path"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw", "default": "0644"},
    "modes": {"type": "dict", "default": {}},
    "secret": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "initial": {"type": "list", "elements": "str", "default": []},
    "line_keys": {"type": "dict", "default": {}, "no_log": False},
    "extra": {"type": "dict", "default": {}},
    "extra_from": {"type": "str"},
    "names": {"type": "dict", "default": {}},
    "notify_for": {"type": "dict", "default": {}},
    "stage_live": {"type": "list", "elements": "str", "default": []},
    "validate": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "argv": {"type": "list", "elements": "str", "required": True},
            "script": {"type": "str"},
            "fail_on": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "dict", "default": {}},
            "needs": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "int", "default": 60},
        },
    },
    "prune": {"type": "bool", "default": True},
    "backup": {"type": "bool", "default": True},
    "state_dir": {"type": "path", "default": "/var/lib/postmaster-mail"},
}


REQUIRED_IF = [("state", "present", ("dest",)), ("state", "present", ("src", "files"), True)]


class Attributes(NamedTuple):
    """Mode, and owner and group by name or number (``None``: whoever runs the module)."""

    mode: int
    owner: str | None
    group: str | None


# ---------------------------------------------------------------------------------------------------------------------
# Names and paths


def tree_id(value: str) -> str:
    """Return the id if it can be a file's name.

    :raises MailError: empty, too long, or more than letters, digits, dots, hyphens and underscores
    """
    if not _ID.match(value):
        raise MailError(f"id {value!r} must be 1 to 64 letters, digits, dots, hyphens or underscores, not starting with a mark")
    return value


def relative_path(value: Any, option: str, whole: bool = False) -> str:
    """Return a path below ``dest`` in its one spelling, without ``.`` and doubled slashes.

    With ``whole``, ``.`` may stand for all of ``dest``.

    :raises MailError: absolute, with ``..``, empty, or with a control character
    """
    if not isinstance(value, str) or not value:
        raise MailError(f"{option} {value!r} must be a path relative to dest")
    if value.startswith("/"):
        raise MailError(f"{option} {value!r} must be relative to dest, not absolute")
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise MailError(f"{option} {value!r} must stay below dest: '..' is not allowed")
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise MailError(f"{option} {value!r} must not contain control characters")
    if whole and not parts:
        return "."
    if not parts or value.endswith("/"):
        raise MailError(f"{option} {value!r} must name a file below dest")
    for part in parts:
        if part.startswith(STAGE_PREFIX) or part.endswith((ORIGINAL_SUFFIX, EDITED_SUFFIX)):
            raise MailError(f"{option} {value!r} uses a name that config_tree keeps for itself")
    return "/".join(parts)


def is_pattern(value: str) -> bool:
    """Whether the value has one of the wildcards ``*``, ``?`` and ``[``."""
    return bool(_MAGIC.search(value))


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path is one of these paths, lies below one of them, or matches one of these patterns.

    ``*`` matches slashes as well, as in :func:`fnmatch.fnmatchcase`.
    """
    return any(
        path == pattern or path.startswith(pattern.rstrip("/") + "/") or (is_pattern(pattern) and fnmatch.fnmatchcase(path, pattern))
        for pattern in patterns
    )


def concerned(handler: str, patterns: Mapping[str, Sequence[str]], paths: Iterable[str]) -> bool:
    """Whether a handler is to run for these files: always, or if ``patterns`` names it, for one that matches and is not excepted."""
    if handler not in patterns:
        return True
    excepted = [pattern[1:] for pattern in patterns[handler] if pattern.startswith("!")]
    wanted = [pattern for pattern in patterns[handler] if not pattern.startswith("!")]
    return any(matches(path, wanted) and not matches(path, excepted) for path in paths)


def unknown_names(names: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Return those names, without wildcards, that are neither one of the paths nor a directory above one."""
    known = list(paths)
    return [
        name
        for name in names
        if not is_pattern(name) and not any(path == name or path.startswith(name.rstrip("/") + "/") for path in known)
    ]


def parents(path: str) -> list[str]:
    """Return the directories above a relative path, outermost first: ``a/b/c`` gives ``a`` and ``a/b``."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


# ---------------------------------------------------------------------------------------------------------------------
# Modes


def octal_mode(value: Any, option: str) -> int:
    """Return the number that a quoted octal mode stands for.

    :raises MailError: not a string of three or four octal digits (an unquoted number is ambiguous in YAML)
    """
    if not isinstance(value, str) or not _OCTAL.match(value):
        raise MailError(f"{option} {value!r} must be a quoted octal mode such as '0644'")
    return int(value, 8)


def directory_mode(mode: int) -> int:
    """Return the mode of a directory whose files have this mode: searchable by all who may read."""
    return mode | ((mode & 0o444) >> 2)


def check_modes(modes: Mapping[str, Any]) -> None:
    """Check the whole of the option ``modes``.

    :raises MailError: a path that leaves the tree, an unknown key, or a mode that is not quoted octal
    """
    for name, entry in modes.items():
        relative_path(name.rstrip("/") if isinstance(name, str) else name, "modes")
        if isinstance(entry, Mapping):
            unknown = sorted(set(entry) - {"mode", "owner", "group"})
            if unknown:
                raise MailError(f"modes {name!r} has the unknown key {unknown[0]!r}: it may have mode, owner and group")
            if "mode" in entry:
                octal_mode(entry["mode"], f"modes {name!r}: mode")
        else:
            octal_mode(entry, f"modes {name!r}:")


def attributes(path: str, default: Attributes, modes: Mapping[str, Any], directory: bool = False) -> Attributes:
    """Return mode, owner and group of a path.

    Every pattern that matches is laid over the default in the order written, an exact path last. A directory gets
    the execute bits that go with its read bits.
    """
    chosen = default
    layers = [entry for name, entry in modes.items() if is_pattern(name) and fnmatch.fnmatchcase(path, name)]
    layers += [entry for name, entry in modes.items() if name.rstrip("/") == path]
    for entry in layers:
        given = entry if isinstance(entry, Mapping) else {"mode": entry}
        if "mode" in given:
            chosen = chosen._replace(mode=octal_mode(given["mode"], f"modes {path!r}: mode"))
        if given.get("owner") is not None:
            chosen = chosen._replace(owner=str(given["owner"]))
        if given.get("group") is not None:
            chosen = chosen._replace(group=str(given["group"]))
    return chosen._replace(mode=directory_mode(chosen.mode)) if directory else chosen


def check_line_keys(line_keys: Mapping[str, Any]) -> None:
    """Check the whole of the option ``line_keys``.

    :raises MailError: what ends a key is not one character
    """
    for name, end in line_keys.items():
        if not isinstance(end, str) or len(end) != 1:
            raise MailError(f"line_keys {name!r} must be one character, the one that ends a key, not {end!r}")


def changed_keys(before: bytes, after: bytes, end: str) -> list[str]:
    """Return the keys of the lines of a table that are not as they were, or not there any more, sorted; those of new lines are not in it.

    :param end: the character that ends a key
    """

    def lines(content: bytes) -> dict[str, str]:
        return {line.partition(end)[0]: line for line in content.decode("utf-8", "replace").splitlines()}

    new = lines(after)
    return sorted(key for key, line in lines(before).items() if key and new.get(key) != line)


def check_validators(validators: Sequence[Mapping[str, Any]]) -> None:
    """Check the whole of the option ``validate``.

    :raises MailError: an empty command, one that does not name its script, or a pattern that is not a regular expression
    """
    for checker in validators:
        if not checker["argv"]:
            raise MailError("validate: argv must not be empty")
        named = any("{script}" in word for word in checker["argv"])
        if named and not checker.get("script"):
            raise MailError(f"validate: `{' '.join(checker['argv'])}` names a {{script}}, and has no option script")
        if checker.get("script") and not named:
            raise MailError(f"validate: script {checker['script']!r} must be named in argv, as {{script}}")
        for pattern in checker.get("fail_on") or ():
            try:
                re.compile(pattern, re.MULTILINE)
            except re.error as exc:
                raise MailError(f"validate: fail_on {pattern!r} is not a regular expression: {exc}") from exc


# ---------------------------------------------------------------------------------------------------------------------
# The parcel from controller to host


def pack(files: Mapping[str, bytes], diff: bool, scripts: Mapping[str, str] | None = None) -> str:
    """Return files, the wish for diffs, and the checkers' scripts (name to text) as one printable string."""
    entries: dict[str, dict[str, str]] = {}
    for path, content in files.items():
        try:
            entries[path] = {"text": content.decode("utf-8")}
        except UnicodeDecodeError:
            entries[path] = {"base64": base64.b64encode(content).decode("ascii")}
    whole = {"files": entries, "diff": diff, "scripts": scripts or {}}
    plain = json.dumps(whole, ensure_ascii=False, sort_keys=True).encode("utf-8")
    return base64.b64encode(zlib.compress(plain, 6)).decode("ascii")


def unpack(parcel: str) -> tuple[dict[str, bytes], bool, dict[str, str]]:
    """Return what :func:`pack` was given.

    :raises MailError: not such a string
    """
    try:
        plain = json.loads(zlib.decompress(base64.b64decode(parcel, validate=True)).decode("utf-8"))
        files = {
            path: entry["text"].encode("utf-8") if "text" in entry else base64.b64decode(entry["base64"])
            for path, entry in plain["files"].items()
        }
        return files, bool(plain["diff"]), dict(plain["scripts"])
    except (ValueError, zlib.error, KeyError, TypeError, AttributeError) as exc:
        raise MailError("the rendered files did not arrive whole; this module is only ever run by its action plugin") from exc


# ---------------------------------------------------------------------------------------------------------------------
# Digests, diffs and masks


def digest(content: bytes, salt: str | None = None) -> str:
    """Return a digest to recognise a content by; salted (a hexadecimal key) where the content is a secret."""
    if salt is None:
        return "sha256:" + hashlib.sha256(content).hexdigest()
    return "hmac-sha256:" + hmac.new(bytes.fromhex(salt), content, hashlib.sha256).hexdigest()


def content_diff(path: str, before: bytes | None, after: bytes | None, secret: bool, closed: bool = False) -> dict[str, str]:
    """Return one entry of a diff; ``None`` is a file that is not there.

    A secret's content is replaced by a note. Of any other, what looks like a password or a private key is masked: files that somebody else
    wrote hold such things without being listed as secret.

    :param closed: whether what is there was written by somebody else and not for everybody to read
    """

    def shown(content: bytes | None, hidden: bool, note: str) -> str:
        if content is None:
            return ""
        if hidden:
            return f"(secret: {note} not shown)\n"
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            return f"(binary: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()})\n"
        return _secret_text.masked(text)

    left, right = shown(before, secret or closed, "the present content is"), shown(after, secret, "the new content is")
    if left == right and before is not None and after is not None and not secret and not closed:
        right += "(only what is masked differs)\n"
    return {
        "before": left,
        "after": right,
        "before_header": path if before is not None else f"{path} (absent)",
        "after_header": path if after is not None else f"{path} (absent)",
    }


def attribute_diff(path: str, before: Sequence[str], after: Sequence[str]) -> dict[str, str]:
    """Return the entry of a diff for mode, owner and group, each given as ``(mode, owner, group)`` in print."""

    def shown(values: Sequence[str]) -> str:
        return "".join(f"{name}: {value}\n" for name, value in zip(("mode", "owner", "group"), values))

    header = f"{path} (mode, owner, group)"
    return {"before": shown(before), "after": shown(after), "before_header": header, "after_header": header}


def secrets_in(contents: Iterable[bytes]) -> list[str]:
    """Return the pieces of secret files that must not be quoted: each line, and the values in it, longest first."""
    found: set[str] = set()
    for content in contents:
        for raw in content.decode("utf-8", "replace").splitlines():
            line = raw.strip()
            if len(line) < 3 or not any(char.isalnum() for char in line):
                continue
            found.add(line)
            if line.startswith(("#", "//", ";")):
                continue
            value = re.split(r"[=:\s]", line, maxsplit=1)[-1].strip(" \t=:;,")
            candidates = [value, value.strip("\"'")]
            candidates += [piece for pair in re.findall(r"\"([^\"]*)\"|'([^']*)'", line) for piece in pair]
            candidates += re.split(r"[\s\"';,=:(){}<>\[\]]+", value)
            found.update(piece for piece in candidates if len(piece) >= 4 and piece.lower() not in _ORDINARY)
    return sorted(found, key=lambda piece: (-len(piece), piece))


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every one of the secrets replaced by asterisks."""
    for piece in secrets:
        text = text.replace(piece, _secret_text.MASK)
    return text
