# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Words of a configuration file as OpenBSD's parse.y files read them: quotes, comments, continued lines, macros, includes."""

from __future__ import annotations

import dataclasses
import os
import re
import sys

from simulated.common import Refusal, at


@dataclasses.dataclass(frozen=True)
class Token:
    """A word, a quoted string, a sign, or the end of a line."""

    text: str
    kind: str  # word, string, sign, newline, end
    line: int
    path: str


class SyntaxError_(Refusal):
    """What yyerror says: file, line, complaint."""

    def __init__(self, token: Token, text: str = "syntax error") -> None:
        super().__init__(f"{token.path}:{token.line}: {text}")


def tokens(text: str, path: str, signs: str, macros: bool = True) -> list[Token]:
    """Return the tokens of a file; a macro's value takes its place, as often as it is named."""
    found: list[Token] = []
    known: dict[str, str] = {}
    _read(text, path, signs, macros, known, found, 0)
    found.append(Token("", "end", text.count("\n") + 1, path))
    return found


def _read(text: str, path: str, signs: str, macros: bool, known: dict[str, str], found: list[Token], depth: int) -> None:
    position, line = 0, 1
    while position < len(text):
        char = text[position]
        if char == "\\" and text[position + 1:position + 2] == "\n":
            position += 2
            line += 1
        elif char in " \t\r":
            position += 1
        elif char == "#":
            end = text.find("\n", position)
            # A comment goes on after a backslash, as its line does.
            position = len(text) if end < 0 else end
        elif char == "\n":
            found.append(Token("\n", "newline", line, path))
            position += 1
            line += 1
        elif char in "\"'":
            end = position + 1
            value = ""
            while end < len(text) and text[end] != char:
                if text[end] == "\\" and end + 1 < len(text) and text[end + 1] in (char, " ", "\t"):
                    end += 1
                elif text[end] == "\n":
                    raise SyntaxError_(Token("", "end", line, path))
                value += text[end]
                end += 1
            if end >= len(text):
                raise SyntaxError_(Token("", "end", line, path))
            found.append(Token(value, "string", line, path))
            position = end + 1
        elif char in signs:
            found.append(Token(char, "sign", line, path))
            position += 1
        else:
            end = position
            while end < len(text) and text[end] not in " \t\r\n#\"'" and text[end] not in signs:
                end += 1
            word = text[position:end]
            position = end
            if macros and word.startswith("$"):
                name = word[1:]
                if name not in known:
                    raise SyntaxError_(Token(word, "word", line, path), f"macro '{name}' not defined")
                if depth > 16:
                    raise SyntaxError_(Token(word, "word", line, path))
                inner: list[Token] = []
                _read(known[name], path, signs, macros, known, inner, depth + 1)
                found += [dataclasses.replace(token, line=line) for token in inner if token.kind != "newline"]
                continue
            assignment = re.compile(r"[ \t]*=[ \t]*").match(text, position)
            first = not found or found[-1].kind == "newline"
            if macros and first and depth == 0 and assignment and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word):
                end = assignment.end()
                value, end, lines = _value(text, end, line, path)
                known[word] = value
                position, line = end, line + lines
                continue
            found.append(Token(word, "word", line, path))


def _value(text: str, start: int, line: int, path: str) -> tuple[str, int, int]:
    """Return a macro's value: the quoted strings and words up to the end of the line."""
    parts, position, lines = [], start, 0
    while position < len(text) and text[position] != "\n":
        char = text[position]
        if text.startswith("\\\n", position):
            position += 2
            lines += 1
        elif char in " \t":
            position += 1
        elif char == "#":
            position = text.find("\n", position) if "\n" in text[position:] else len(text)
        elif char in "\"'":
            end = text.find(char, position + 1)
            if end < 0:
                raise SyntaxError_(Token("", "end", line + lines, path))
            parts.append(text[position + 1:end])
            lines += text.count("\n", position, end)
            position = end + 1
        else:
            match = re.compile(r"[^\s\"'#]+").match(text, position)
            parts.append(match[0])
            position = match.end()
    if not parts:
        raise SyntaxError_(Token("", "end", line, path))
    return " ".join(parts), position, lines


class Parser:
    """A cursor over tokens, with the steps that every grammar needs."""

    SIGNS = "{}(),!<>="

    def __init__(self, text: str, path: str) -> None:
        self.tokens = tokens(text, path, self.SIGNS)
        self.position = 0

    @property
    def token(self) -> Token:
        """The token under the cursor."""
        return self.tokens[self.position]

    def peek(self, distance: int = 1) -> Token:
        """Return a token further on."""
        return self.tokens[min(self.position + distance, len(self.tokens) - 1)]

    def error(self, text: str = "syntax error") -> SyntaxError_:
        """Return the complaint about the token under the cursor."""
        return SyntaxError_(self.token, text)

    def advance(self) -> Token:
        """Return the token under the cursor and go on."""
        token = self.token
        if token.kind != "end":
            self.position += 1
        return token

    def word(self, *wanted: str) -> bool:
        """Take one of these keywords, if it is there; a quoted string is none."""
        if self.token.kind == "word" and self.token.text in wanted:
            self.position += 1
            return True
        return False

    def need(self, *wanted: str) -> str:
        """Take one of these keywords."""
        text = self.token.text
        if not self.word(*wanted):
            raise self.error()
        return text

    def sign(self, wanted: str) -> bool:
        """Take a sign, if it is there."""
        if self.token.kind == "sign" and self.token.text == wanted:
            self.position += 1
            return True
        return False

    def need_sign(self, wanted: str) -> None:
        """Take a sign."""
        if not self.sign(wanted):
            raise self.error()

    def string(self) -> str:
        """Take a word or a quoted string."""
        if self.token.kind not in ("word", "string"):
            raise self.error()
        return self.advance().text

    def number(self, low: int = 0, high: int = 2 ** 31 - 1) -> int:
        """Take a number."""
        if self.token.kind != "word" or not self.token.text.isdigit() or not low <= int(self.token.text) <= high:
            raise self.error()
        return int(self.advance().text)

    def newlines(self) -> None:
        """Pass over empty lines."""
        while self.token.kind == "newline":
            self.position += 1

    def end_of_line(self) -> None:
        """Need the end of a line."""
        if self.token.kind not in ("newline", "end"):
            raise self.error()
        self.newlines()


def load(path: str) -> str:
    """Return a configuration's text, or refuse as the daemons do."""
    if path == "/dev/stdin":
        # A duplicate of the descriptor: what was read once is not there the next time.
        return sys.stdin.read()
    try:
        return at(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refusal(f"{path}: No such file or directory") from None


def check_secrecy(path: str) -> None:
    """Refuse a file that others may write or read, where a daemon insists on it."""
    found = os.stat(at(path))
    if found.st_uid not in (0, os.getuid()):
        raise Refusal(f"{path}: owner not root or current user")
    if found.st_mode & 0o022:
        raise Refusal(f"{path}: group writable or world read/writable")
