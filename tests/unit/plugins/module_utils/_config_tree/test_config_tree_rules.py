# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import zlib

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import rules
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("a", "a"),
        ("a/b.conf", "a/b.conf"),
        ("./a//b/./c", "a/b/c"),
        ("mit Leerzeichen/ö", "mit Leerzeichen/ö"),
        ("..a/b..", "..a/b.."),
        (".hidden", ".hidden"),
    ],
)
def test_relative_path(given: str, path: str) -> None:
    assert rules.relative_path(given, "extra") == path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "extra '' must be a path relative to dest"),
        (7, "extra 7 must be a path relative to dest"),
        ("/etc/passwd", "extra '/etc/passwd' must be relative to dest, not absolute"),
        ("..", "extra '..' must stay below dest: '..' is not allowed"),
        ("a/../../b", "extra 'a/../../b' must stay below dest: '..' is not allowed"),
        ("a/", "extra 'a/' must name a file below dest"),
        (".", "extra '.' must name a file below dest"),
        ("a\nb", "extra 'a\\nb' must not contain control characters"),
        ("a/x.postmaster-orig", "extra 'a/x.postmaster-orig' uses a name that config_tree keeps for itself"),
        (".postmaster-mail-x+1/a", "extra '.postmaster-mail-x+1/a' uses a name that config_tree keeps for itself"),
    ],
)
def test_relative_path_refused(given: object, message: str) -> None:
    with pytest.raises(MailError) as error:
        rules.relative_path(given, "extra")
    assert str(error.value) == message


def test_relative_path_whole() -> None:
    assert rules.relative_path(".", "stage_live", whole=True) == "."


@pytest.mark.parametrize("given", ["", "../x", "a/b", ".x", "-x", "a" * 65, "a+b"])
def test_tree_id_refused(given: str) -> None:
    with pytest.raises(MailError) as error:
        rules.tree_id(given)
    assert str(error.value) == f"id {given!r} must be 1 to 64 letters, digits, dots, hyphens or underscores, not starting with a mark"


@pytest.mark.parametrize(
    ("path", "patterns", "expected"),
    [
        ("a/b.conf", ["a/b.conf"], True),
        ("a/b.conf", ["a"], True),
        ("a/b.conf", ["a/"], True),
        ("a/b.conf", ["a/b"], False),
        ("a/b/c.conf", ["a/*.conf"], True),
        ("a/b.conf", ["*.inc", "*.conf"], True),
        ("a/b.conf", ["A/*"], False),
        ("a/b.conf", [], False),
    ],
)
def test_matches(path: str, patterns: list[str], expected: bool) -> None:
    assert rules.matches(path, patterns) is expected


def test_unknown_names() -> None:
    assert rules.unknown_names(["a/b", "a", "a/", "x", "x*", "a/bc"], ["a/b", "c"]) == ["x", "a/bc"]


def test_parents() -> None:
    assert rules.parents("a/b/c") == ["a", "a/b"]
    assert rules.parents("c") == []


@pytest.mark.parametrize(("given", "mode"), [("0644", 0o644), ("640", 0o640), ("2750", 0o2750), ("02750", 0o2750)])
def test_octal_mode(given: str, mode: int) -> None:
    assert rules.octal_mode(given, "mode") == mode


@pytest.mark.parametrize("given", [420, "u=rw", "64", "0o644", "999", None])
def test_octal_mode_refused(given: object) -> None:
    with pytest.raises(MailError) as error:
        rules.octal_mode(given, "mode")
    assert str(error.value) == f"mode {given!r} must be a quoted octal mode such as '0644'"


@pytest.mark.parametrize(("mode", "directory"), [(0o644, 0o755), (0o640, 0o750), (0o600, 0o700), (0o755, 0o755), (0o2640, 0o2750)])
def test_directory_mode(mode: int, directory: int) -> None:
    assert rules.directory_mode(mode) == directory


MODES = {
    "a/secret.inc": {"mode": "0640", "group": "mail"},
    "a/*": {"group": "wheel", "owner": "nobody"},
    "a/*.sh": "0755",
    "d": "2750",
}


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [
        ("b", False, (0o644, "root", None)),
        ("a/x", False, (0o644, "nobody", "wheel")),
        ("a/x.sh", False, (0o755, "nobody", "wheel")),
        ("a/secret.inc", False, (0o640, "nobody", "mail")),
        ("a/sub", True, (0o755, "nobody", "wheel")),
        ("d", True, (0o2750, "root", None)),
        ("e", True, (0o755, "root", None)),
    ],
)
def test_attributes(path: str, directory: bool, expected: tuple[int, str, str | None]) -> None:
    assert tuple(rules.attributes(path, rules.Attributes(0o644, "root", None), MODES, directory)) == expected


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ({"a": {"mod": "0644"}}, "modes 'a' has the unknown key 'mod': it may have mode, owner and group"),
        ({"a": {"mode": 420}}, "modes 'a': mode 420 must be a quoted octal mode such as '0644'"),
        ({"a": 420}, "modes 'a': 420 must be a quoted octal mode such as '0644'"),
        ({"/a": "0644"}, "modes '/a' must be relative to dest, not absolute"),
        ({1: "0644"}, "modes 1 must be a path relative to dest"),
    ],
)
def test_check_modes_refused(modes: dict, message: str) -> None:
    with pytest.raises(MailError) as error:
        rules.check_modes(modes)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("validators", "message"),
    [
        ([{"argv": []}], "validate: argv must not be empty"),
        ([{"argv": ["sh", "{script}", "x"]}], "validate: `sh {script} x` names a {script}, and has no option script"),
        ([{"argv": ["sh"], "script": "probe.sh"}], "validate: script 'probe.sh' must be named in argv, as {script}"),
        (
            [{"argv": ["true"], "fail_on": ["("]}],
            "validate: fail_on '(' is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
    ],
)
def test_check_validators_refused(validators: list, message: str) -> None:
    with pytest.raises(MailError) as error:
        rules.check_validators(validators)
    assert str(error.value) == message


def test_keys_of_lines_that_changed_or_went() -> None:
    before = b"a:1\nb:2\nc:3:x\n\nd\ne:5\n"
    assert rules.changed_keys(before, b"a:1\nc:3:y\nd\ne:5\nf:6\n", ":") == ["b", "c"]
    assert rules.changed_keys(before, before, ":") == rules.changed_keys(b"", before, ":") == []
    assert rules.changed_keys(before, b"", ":") == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("end", ["", "::", 5, None])
def test_a_key_ends_with_one_character(end: object) -> None:
    with pytest.raises(MailError) as error:
        rules.check_line_keys({"svc/users": end})
    assert str(error.value) == f"line_keys 'svc/users' must be one character, the one that ends a key, not {end!r}"


def test_parcel_keeps_every_byte() -> None:
    files = {"ö/a b": b"text\n", "empty": b"", "binary": bytes(range(256)), "crlf": b"a\r\nb"}
    parcel = rules.pack(files, True, {"check.sh": "exit 0\n"})
    assert parcel.isascii()
    assert rules.unpack(parcel) == (files, True, {"check.sh": "exit 0\n"})


OTHER_PARCEL = base64.b64encode(zlib.compress(json.dumps({"files": {"a": {}}}).encode())).decode()


@pytest.mark.parametrize("parcel", ["", "x", "aGFsbG8=", OTHER_PARCEL])
def test_unpack_refused(parcel: str) -> None:
    with pytest.raises(MailError) as error:
        rules.unpack(parcel)
    assert str(error.value) == "the rendered files did not arrive whole; this module is only ever run by its action plugin"


def test_digest() -> None:
    assert rules.digest(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    salted = rules.digest(b"abc", "00ff")
    assert salted.startswith("hmac-sha256:")
    assert salted not in (rules.digest(b"abc", "00fe"), rules.digest(b"abd", "00ff"))


def test_content_diff() -> None:
    assert rules.content_diff("/a", None, b"x\n", False) == {
        "before": "",
        "after": "x\n",
        "before_header": "/a (absent)",
        "after_header": "/a",
    }
    hidden = rules.content_diff("/a", b"hunter2\n", b"hunter3\n", True)
    assert hidden["before"] != hidden["after"]
    assert "hunter" not in repr(hidden)
    assert rules.content_diff("/a", b"\xff", None, False)["before"].startswith("(binary: 1 bytes, SHA-256 a8100ae6")


def test_mask() -> None:
    secret = b'# comment of no interest\npassword = "Tr0ub4dor&3";\nenabled = true;\nme:{BLF-CRYPT}$2b$05$abcdefgh\n}\nonlytoken\n'
    pieces = rules.secrets_in([secret])
    output = (
        'line 2: password = "Tr0ub4dor&3";\nbad value Tr0ub4dor&3 near }\nenabled is true\nhash $2b$05$abcdefgh\n'
        "what is onlytoken\nunrelated password\n"
    )
    assert rules.mask(output, pieces) == (
        "line 2: ********\nbad value ******** near }\nenabled is true\nhash ********\nwhat is ********\nunrelated password\n"
    )
