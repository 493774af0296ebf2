# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pfctl(8): a parser for the rules of pf.conf(5) that hosts use, and what is loaded, to be shown. Nothing is enforced."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import sys
import time

from simulated.common import Refusal, at, getopt, locked, need_root, read, write
from simulated.lexer import Parser

_USAGE = """usage: pfctl [-deghNnPqrvz] [-a anchor] [-D macro=value] [-F modifier] [-f file]
	[-i interface] [-K key] [-k key] [-L statefile] [-o level]
	[-p device] [-S statefile] [-s modifier [-R id]] [-t table -T command [address ...]]
	[-V rdomain] [-x level]"""
_STATE = "/var/run/simulation-pf.json"
_SETTINGS = {"skip", "limit", "optimization", "ruleset-optimization", "loginterface", "block-policy", "state-policy", "state-defaults",
             "timeout", "debug", "fingerprints", "hostid", "reassemble", "syncookies"}
_STATE_OPTIONS = {"max", "no-sync", "pflow", "sloppy", "floating", "if-bound", "source-track", "max-src-nodes", "max-src-states",
                  "max-src-conn", "max-src-conn-rate", "overload"}
_TIMEOUT = re.compile(r"^(tcp|udp|icmp|other|frag|src|adaptive|interval)(\.[a-z]+)?$")


class Grammar(Parser):
    """Rules, tables and anchors; a rule ends with its line."""

    SIGNS = "{}(),!<>="

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        self.rules: list[str] = []
        self.tables: dict[str, list[str]] = {}
        self.used: set[str] = set()
        self.anchors: dict[str, str] = {}  # load anchor
        self.points: list[str] = []

    def parse(self) -> None:
        """Read the file."""
        self.newlines()
        while self.token.kind != "end":
            start = self.position
            if self.word("table"):
                self.table()
            elif self.word("set"):
                self.setting()
                start = -1
            elif self.word("load"):
                self.need("anchor")
                name = self.string()
                self.need("from")
                self.anchors[name] = self.string()
                start = -1
            elif self.word("anchor"):
                self.anchor()
            elif self.word("antispoof"):
                self.word("log")
                self.word("quick")
                self.need("for")
                self.items(self.string)
                if self.word("inet", "inet6"):
                    pass
            elif self.word("include"):
                path = self.string()
                inner = parse(_load(path), path)
                self.rules += inner.rules
                self.tables.update(inner.tables)
                self.anchors.update(inner.anchors)
                start = -1
            elif self.token.text in ("pass", "block", "match") and self.token.kind == "word":
                self.rule()
            elif self.token.text in ("queue", "altq") and self.token.kind == "word":
                raise self.error(f"{self.token.text}: not simulated")
            else:
                raise self.error()
            if start >= 0 and self.tokens[start].text != "table":
                self.rules.append(_text(self.tokens[start:self.position]))
            self.end_of_line()

    def items(self, one) -> None:
        """Read one item, or a list of them in braces, with or without commas."""
        if not self.sign("{"):
            one()
            return
        self.newlines()
        if self.token.text == "}":
            raise self.error()
        while not self.sign("}"):
            one()
            self.newlines()
            self.sign(",")
            self.newlines()

    def table(self) -> None:
        self.need_sign("<")
        name = self.string()
        self.need_sign(">")
        if name in self.tables:
            raise self.error(f"table <{name}> already defined")
        self.tables[name] = []
        while self.token.kind in ("word", "sign") and self.token.text != "\n":
            if self.word("persist", "const", "counters"):
                continue
            if self.word("file"):
                path = self.string()
                lines = [line.split("#")[0].strip() for line in _load(path).splitlines()]
                self.tables[name] += [_address(line) for line in lines if line]
            elif self.sign("{"):
                self.newlines()
                while not self.sign("}"):
                    negated = self.sign("!")
                    word = self.string()
                    try:
                        self.tables[name].append(("!" if negated else "") + _address(word))
                    except Refusal:
                        raise self.error(f"could not parse host specification: {word}") from None
                    self.newlines()
                    self.sign(",")
                    self.newlines()
            else:
                raise self.error()

    def setting(self) -> None:
        name = self.token.text
        if self.token.kind != "word" or name not in _SETTINGS:
            raise self.error()
        self.advance()
        if name == "skip":
            self.need("on")
            self.items(self.string)
        elif name in ("limit", "timeout") and self.token.text == "{":
            def pair() -> None:
                self.string()
                self.number()
            self.items(pair)
        elif name in ("limit", "timeout"):
            word = self.string()
            if name == "timeout" and not _TIMEOUT.match(word):
                raise self.error()
            self.number()
        elif name == "block-policy":
            self.need("drop", "return")
        elif name == "state-policy":
            self.need("if-bound", "floating")
        elif name == "syncookies":
            self.need("never", "always", "adaptive")
        elif name == "reassemble":
            self.need("yes", "no")
            self.word("no-df")
        elif name == "state-defaults":
            self.state_options(False)
        else:
            self.string()

    def anchor(self) -> None:
        name = self.string() if self.token.kind in ("word", "string") and self.token.text not in ("in", "out", "on", "quick") else ""
        self.points.append(name)
        self.filter_words()
        if self.sign("{"):
            depth = 1
            inner = self.position
            while depth:
                if self.token.kind == "end":
                    raise self.error()
                text = self.advance().text
                depth += {"{": 1, "}": -1}.get(text, 0)
            part = Grammar("", self.token.path)
            part.tokens = [*self.tokens[inner:self.position - 1], self.tokens[-1]]
            part.parse()

    def rule(self) -> None:
        action = self.advance().text
        if action == "block":
            if self.word("return-rst", "return-icmp", "return-icmp6"):
                if self.sign("("):
                    while not self.sign(")"):
                        self.string()
                        self.sign(",")
            else:
                self.word("drop", "return")
        self.filter_words()
        self.options()

    def filter_words(self) -> None:
        self.word("in", "out")
        if self.word("log") and self.sign("("):
            while not self.sign(")"):
                self.need("all", "matches", "user", "to") == "to" and self.string()
                self.sign(",")
        self.word("quick")
        if self.word("on"):
            def interface() -> None:
                self.sign("!")
                if self.word("rdomain"):
                    self.number()
                else:
                    self.string()
            self.items(interface)
        self.word("inet", "inet6")
        if self.word("proto"):
            def protocol() -> None:
                word = self.string()
                known = ("tcp", "udp", "icmp", "icmp6", "ipv6-icmp", "esp", "ah", "gre", "ospf", "carp", "ipencap")
                if not word.isdigit() and word not in known:
                    raise self.error(f"unknown protocol {word}")
            self.items(protocol)
        if self.word("all"):
            return
        if self.word("from"):
            self.hosts()
            if self.word("port"):
                self.ports()
            self.word("os") and self.items(self.string)
        if self.word("to"):
            if self.token.text != "port":
                self.hosts()
            if self.word("port"):
                self.ports()

    def hosts(self) -> None:
        def one() -> None:
            self.sign("!")
            if self.sign("<"):
                self.used.add(self.string())
                self.need_sign(">")
            elif self.sign("("):
                self.string()
                self.need_sign(")")
            elif self.word("any", "self", "no-route", "urpf-failed"):
                pass
            elif self.word("route"):
                self.string()
            else:
                word = self.string()
                if re.match(r"^[0-9.]+(/|$)|:", word):
                    try:
                        _address(word)
                    except Refusal:
                        raise self.error(f"could not parse host specification: {word}") from None
                if self.token.kind == "word" and self.token.text == "-":
                    self.advance()
                    self.string()
        self.items(one)

    def ports(self) -> None:
        def one() -> None:
            if self.sign("!"):
                self.need_sign("=")
            elif self.sign("<") or self.sign(">"):
                self.sign("=")
            else:
                self.sign("=")
            for word in re.split(r":|><|<>", self.string()):
                if word.isdigit():
                    if int(word) > 65535:
                        raise self.error("illegal port value " + word)
                elif word:
                    try:
                        socket.getservbyname(word)
                    except OSError:
                        raise self.error(f"unknown port {word}") from None
            if self.token.kind == "sign" and self.token.text in "<>":
                while self.sign("<") or self.sign(">"):
                    pass
                self.string()
        self.items(one)

    def options(self) -> None:
        while self.token.kind in ("word", "sign") and self.token.text != "}":
            if self.word("keep", "modulate", "synproxy"):
                self.need("state")
                if self.token.text == "(":
                    self.state_options(True)
            elif self.word("no"):
                self.need("state")
            elif self.word("flags"):
                self.string()
            elif self.word("user", "group"):
                self.items(self.string)
            elif self.word("icmp-type", "icmp6-type"):
                def kind() -> None:
                    self.string()
                    self.word("code") and self.string()
                self.items(kind)
            elif self.word("tos", "label", "tag", "rtable", "probability", "received-on", "prio"):
                self.items(self.string)
            elif self.word("tagged"):
                self.string()
            elif self.token.text == "!" and self.peek().text == "tagged":
                self.advance()
                self.advance()
                self.string()
            elif self.word("allow-opts", "once", "fragment", "static-port"):
                pass
            elif self.word("max-pkt-rate"):
                self.string()
            elif self.word("set", "scrub"):
                self.need_sign("(")
                while not self.sign(")"):
                    self.string()
                    self.sign(",")
            elif self.word("divert-to", "rdr-to", "nat-to", "binat-to", "af-to"):
                self.hosts()
                self.word("port") and self.ports()
                self.word("static-port", "random", "source-hash", "round-robin", "least-states", "bitmask", "sticky-address")
            elif self.word("divert-packet"):
                self.need("port")
                self.ports()
            elif self.word("divert-reply"):
                pass
            elif self.word("route-to", "reply-to", "dup-to"):
                self.hosts()
            else:
                raise self.error()

    def state_options(self, brackets: bool) -> None:
        if brackets:
            self.need_sign("(")
        conn_rate = overload = False
        while True:
            self.newlines()
            word = self.token.text
            if self.token.kind != "word" or not (word in _STATE_OPTIONS or _TIMEOUT.match(word)):
                raise self.error()
            self.advance()
            if word == "overload":
                overload = True
                self.need_sign("<")
                self.used.add(self.string())
                self.need_sign(">")
                if self.word("flush"):
                    self.word("global")
            elif word == "max-src-conn-rate":
                conn_rate = True
                if not re.fullmatch(r"\d+/\d+", self.token.text):
                    raise self.error()
                self.advance()
            elif word == "source-track":
                self.word("rule", "global")
            elif word not in ("no-sync", "pflow", "sloppy", "floating", "if-bound"):
                self.number()
                conn_rate = conn_rate or word == "max-src-conn"
            if not self.sign(","):
                break
        if overload and not conn_rate:
            raise self.error("'overload' requires 'max-src-conn' or 'max-src-conn-rate'")
        if brackets:
            self.need_sign(")")


def _text(tokens: list) -> str:
    """Return a rule as it was written, in one line."""
    text = " ".join(f'"{token.text}"' if token.kind == "string" else token.text for token in tokens if token.kind != "newline")
    return re.sub(r"< ([^ ]+) >", r"<\1>", text)


def _address(word: str) -> str:
    if word == "self" or re.fullmatch(r"[a-z]+[0-9]*(:[a-z0-9]+)?|\([a-z0-9:]+\)", word):
        return word
    try:
        return str(ipaddress.ip_network(word, strict=False)).removesuffix("/32").removesuffix("/128")
    except ValueError:
        raise Refusal(f"pfctl: cannot parse {word}: {word}") from None


def _load(path: str) -> str:
    if not at(path).is_file():
        raise Refusal(f"{path}: No such file or directory\npfctl: cannot open the main config file!: No such file or directory")
    return read(path)


def parse(text: str, path: str) -> Grammar:
    """Return what a file says, or refuse with its line, in pfctl's two sentences."""
    grammar = Grammar.__new__(Grammar)
    try:
        Grammar.__init__(grammar, text, path)
        grammar.parse()
    except Refusal as exc:
        lines = str(exc)
        if "pfctl:" not in lines:
            lines += "\npfctl: Syntax error in config file: pf rules not loaded"
        raise Refusal(lines) from None
    return grammar


def _state() -> dict:
    return json.loads(read(_STATE) or '{"enabled": true, "anchors": {"": {"rules": [], "tables": {}}}}')


def _save(state: dict) -> None:
    write(_STATE, json.dumps(state), 0o600)


def _into(state: dict, anchor: str, grammar: Grammar, loaded: dict[str, Grammar]) -> None:
    for name, part in {anchor: grammar, **loaded}.items():
        old = state["anchors"].get(name, {"rules": [], "tables": {}})["tables"]
        now = time.time()
        tables = {}
        for table in {*part.tables, *part.used}:
            # A table without addresses of its own keeps those that it has got.
            tables[table] = dict.fromkeys(part.tables.get(table, []), now) or old.get(table, {})
        state["anchors"][name] = {"rules": part.rules, "tables": tables}


def pfctl(argv: list[str]) -> int:
    """Check, load and show rules, and change tables."""
    options, words = getopt(argv, "a:dD:eF:f:ghi:K:k:L:Nno:Pp:qR:rS:s:t:T:vV:x:z", _USAGE)
    need_root("pfctl: /dev/pf: Permission denied")
    anchor = options.get("a", [""])[-1].strip("/").removesuffix("/*")
    if "f" in options:
        path = options["f"][-1]
        text = sys.stdin.read() if path == "-" else _load(path)
        grammar = parse(text, "stdin" if path == "-" else path)
        prefix = f"{anchor}/" if anchor else ""
        loaded = {prefix + name: parse(_load(file), file) for name, file in grammar.anchors.items()}
        if "v" in options:
            for rule in grammar.rules:
                print(rule)
        if "n" not in options:
            with locked("pf"):
                state = _state()
                _into(state, anchor, grammar, loaded)
                _save(state)
    elif "n" in options:
        raise Refusal(_USAGE)
    with locked("pf"):
        state = _state()
        if "e" in options or "d" in options:
            wanted = "e" in options
            if state["enabled"] == wanted:
                raise Refusal(f"pfctl: pf already {'enabled' if wanted else 'disabled'}")
            state["enabled"] = wanted
            print(f"pf {'enabled' if wanted else 'disabled'}", file=sys.stderr)
            _save(state)
        if "F" in options:
            what = options["F"][-1]
            if what not in ("all", "rules", "states", "Sources", "info", "Tables", "osfp", "Reset"):
                raise Refusal(f"pfctl: Unknown flush modifier '{what}'\n{_USAGE}")
            room = state["anchors"].setdefault(anchor, {"rules": [], "tables": {}})
            if what in ("all", "rules"):
                room["rules"] = []
            if what in ("all", "Tables"):
                room["tables"] = {}
            _save(state)
        if "T" in options:
            return _table(state, anchor, options, words)
    if "s" in options:
        _show(state, anchor, options["s"][-1], options)
    if not set(options) & {"f", "e", "d", "F", "s", "k", "K"}:
        raise Refusal(_USAGE)
    return 0


def _show(state: dict, anchor: str, what: str, options: dict) -> None:
    names = ("rules", "Tables", "info", "states", "Anchors", "all", "memory", "timeouts", "Interfaces", "labels", "queue", "Sources",
             "osfp")
    found = [name for name in names if name.startswith(what)]
    if len(found) != 1:
        raise Refusal(f"pfctl: Unknown show modifier '{what}'\n{_USAGE}")
    room = state["anchors"].get(anchor)
    if room is None:
        raise Refusal("pfctl: Anchor does not exist.")
    if found[0] in ("rules", "all"):
        print("".join(rule + "\n" for rule in room["rules"]), end="")
    if found[0] in ("Tables", "all"):
        print("".join(name + "\n" for name in sorted(room["tables"])), end="")
    if found[0] == "Anchors":
        print("".join(f"  {name}\n" for name in sorted(state["anchors"]) if name), end="")
    if found[0] in ("info", "all"):
        print(f"Status: {'Enabled' if state['enabled'] else 'Disabled'} (simulated: nothing is enforced)")


def _table(state: dict, anchor: str, options: dict, words: list[str]) -> int:
    if "t" not in options:
        raise Refusal(_USAGE)
    name, verb = options["t"][-1], options["T"][-1]
    room = state["anchors"].setdefault(anchor, {"rules": [], "tables": {}})
    if verb not in ("kill", "flush", "add", "delete", "expire", "replace", "show", "test", "zero", "load"):
        raise Refusal(f"pfctl: Unknown table command '{verb}'\n{_USAGE}")
    if verb == "add":
        room["tables"].setdefault(name, {})
    if name not in room["tables"]:
        raise Refusal("pfctl: Table does not exist.")
    table, now, quiet = room["tables"][name], time.time(), "q" in options
    said = ""
    code = 0
    if verb == "show":
        # Of an entry's statistics, since when they are counted.
        cleared = "\tCleared:     {}\n" if "v" in options else ""
        print("".join(f"   {address}\n{cleared.format(time.ctime(table[address]))}" for address in sorted(table)), end="")
        return 0
    if verb == "test":
        inside = [word for word in words if any(ipaddress.ip_network(_address(word)).subnet_of(ipaddress.ip_network(entry))
                                                for entry in table if (":" in entry) == (":" in word))]
        said, code = f"{len(inside)}/{len(words)} addresses match.", 0 if len(inside) == len(words) else 2
    elif verb == "add":
        new = [_address(word) for word in words]
        said = f"{len({address for address in new if address not in table})}/{len(new)} addresses added."
        table.update({address: now for address in new if address not in table})
    elif verb == "delete":
        gone = [address for address in map(_address, words) if table.pop(address, None)]
        said = f"{len(gone)}/{len(words)} addresses deleted."
    elif verb == "expire":
        if len(words) != 1 or not words[0].isdigit():
            raise Refusal(_USAGE)
        old = [address for address, since in table.items() if now - since >= int(words[0])]
        said = f"{len(old)}/{len(table)} addresses expired."
        for address in old:
            del table[address]
    elif verb == "replace":
        room["tables"][name] = {_address(word): now for word in words}
        said = "no changes." if set(table) == set(room["tables"][name]) else f"{len(words)} addresses added."
    elif verb == "flush":
        said = f"{len(table)} addresses deleted."
        table.clear()
    elif verb == "kill":
        del room["tables"][name]
        said = "1 table deleted."
    _save(state)
    if said and not quiet:
        print(said, file=sys.stderr)
    return code
