# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Dovecot reads besides its settings: the syntax its version wants, the passwd-file, tests in Sieve. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import delivery, recipients
from ansible_collections.postmaster.mail.plugins.module_utils._model.passwords import with_scheme
from ansible_collections.postmaster.mail.plugins.module_utils._names import split_address, without_detail
from ansible_collections.postmaster.mail.plugins.module_utils._services import locks

#: The configuration syntaxes that are written here; neither version reads the other's.
SYNTAXES = ("2.3", "2.4")

#: Dovecot's own auth_username_chars, less what a directory name or %-expansion could trip over.
_USER_PART = re.compile(r"^[a-z0-9_-][a-z0-9._-]*\Z")
_VERSION = re.compile(r"^(\d+)\.(\d+)(?:\.|\b)", re.ASCII)
_HEADER = re.compile(r"^[!-9;-~]+\Z")

#: What clients call the folder of deleted mail, in the languages of their users, and that of junk where it is not the server's.
TRASH_NAMES = (
    "Trash", "Bin", "Deleted", "Deleted Items", "Deleted Messages", "Recycle Bin",
    "Corbeille", "Éléments supprimés", "Messages supprimés",
    "Papierkorb", "Gelöscht", "Gelöschte Elemente", "Gelöschte Objekte", "Gelöschte Nachrichten",
    "Papelera", "Papelera de reciclaje", "Elementos eliminados", "Mensajes eliminados", "Eliminados",
    "Cestino", "Posta eliminata", "Elementi eliminati", "Messaggi eliminati",
    "Lixeira", "Lixo", "Reciclagem", "Itens excluídos", "Itens eliminados", "Mensagens excluídas", "Mensagens apagadas", "Paperera",
    "Prullenbak", "Prullenmand", "Verwijderd", "Verwijderde items", "Verwijderde berichten",
    "Papirkurv", "Slettet post", "Slettede elementer", "Slettede meddelelser", "Slettede meldinger",
    "Papperskorg", "Papperskorgen", "Borttaget", "Borttagna objekt", "Raderade objekt", "Roskakori", "Poistetut",
    "Poistetut viestit", "Kosz", "Usunięte", "Elementy usunięte", "Koš", "Odstraněná pošta", "Smazané zprávy", "Kôš", "Odstránené položky",
    "Kuka", "Lomtár", "Törölt elemek", "Coș de gunoi", "Gunoi", "Elemente șterse", "Çöp Kutusu", "Çöp", "Silinmiş Öğeler",
    "Κάδος απορριμμάτων", "Απορρίμματα", "Διαγραμμένα", "Корзина", "Удаленные", "Удалённые", "Кошик", "Видалені",
    "ごみ箱", "ゴミ箱", "削除済みアイテム", "已删除邮件", "已删除", "废纸篓", "垃圾桶", "刪除的郵件", "휴지통", "지운 편지함",
)
JUNK_NAMES = (
    "Junk", "Junk E-mail", "Junk Email", "Junk Mail", "Junk-E-Mail", "Spam", "Bulk Mail",
    "Courrier indésirable", "Indésirables", "Pourriel", "Pourriels", "Spamverdacht", "Unerwünscht", "Unerwünschte Werbung",
    "Correo no deseado", "No deseado", "Correu brossa", "Posta indesiderata", "Indesiderata", "Lixo eletrônico", "Lixo electrónico",
    "Ongewenst", "Ongewenste e-mail", "Ongewenste reclame", "Uønsket e-mail", "Uønsket e-post", "Uønsket mail", "Søppelpost", "Skräppost",
    "Roskaposti", "Wiadomości-śmieci", "Niechciane", "Nevyžádaná pošta", "Nevyžiadaná pošta", "Levélszemét", "Gereksiz E-posta",
    "Ανεπιθύμητη αλληλογραφία", "Нежелательная почта", "Спам", "迷惑メール", "垃圾邮件", "垃圾郵件", "스팸", "정크 메일",
)


def syntax(version: str, expected: str = "") -> str:
    """Return which configuration syntax an installed Dovecot reads, ``2.3`` or ``2.4``.

    :param version: what ``dovecot --version`` prints, such as ``2.4.1-4 (7d8c0e5759)``; empty when none is installed
    :param expected: the answer when none is installed, as in check mode on a fresh host
    :raises MailError: a version whose syntax is neither, or none installed and nothing expected
    """
    text = version.strip() or expected
    match = _VERSION.match(text)
    if not match:
        raise MailError(f"the installed Dovecot's version {shown(text)} cannot be read: it must start like 2.4.1")
    major, minor = int(match[1]), int(match[2])
    if (major, minor) == (2, 3):
        return "2.3"
    if major == 2 and minor >= 4:
        return "2.4"
    raise MailError(f"Dovecot {text} is installed, but configuration is written here for {' and '.join(SYNTAXES)} only")


def _known(version: str) -> None:
    if version not in SYNTAXES:
        raise MailError(f"Dovecot syntax {shown(version)} is unknown; it is one of {', '.join(SYNTAXES)}")


def _quota(options: Mapping[str, Any], version: str) -> str:
    """Return the field that carries a user's own quota, empty for none."""
    quota = int(options.get("quota") or 0)
    if not quota:
        return ""
    return f"userdb_quota_storage_size={quota}B" if version == "2.4" else f"userdb_quota_rule=*:bytes={quota}"


def passwd_file(users: Mapping[str, Mapping[str, Any]], version: str) -> str:
    """Return the lines of Dovecot's passwd-file, sorted by address; see doc.dovecot.org, passwd-file.

    A line is ``user:password:uid:gid:gecos:home:shell:extra``. Only the password and the user's own quota are set: who
    owns the mail and where it lies is the same for all and stands in the configuration.

    :param users: address to ``password_hash`` (see :func:`_passwords.password_hash`) and ``quota`` (bytes, 0 for none)
    :param version: ``2.3`` or ``2.4``
    :raises MailError: an address that cannot be a login and a directory
    """
    _known(version)
    lines = []
    for user, options in sorted(users.items()):
        local, _domain = split_address(user, "mail_users")
        if not _USER_PART.match(local):
            raise MailError(
                f"mail_users {shown(user)} cannot have a mailbox: a login is also a directory, and has only letters, digits, "
                "'-', '_' and inner '.' before the @. Give the mailbox another name and make this address an alias of it"
            )
        lines.append(f"{user}:{with_scheme(options['password_hash'])}::::::{_quota(options, version)}\n")
    return "".join(lines)


def alias_file(
    users: Mapping[str, Mapping[str, Any]], aliases: Mapping[str, Sequence[str]], version: str, delimiter: str = "+"
) -> str:
    """Return a userdb passwd-file in which each alias of exactly one mailbox has the name and the quota of that mailbox.

    The MTA asks for quotas before it resolves aliases; this is how mail to an alias of a full mailbox is refused at RCPT
    and not accepted and bounced. The file has no passwords, and must never be a passdb.

    A line is that of ``=`` and the name, as Dovecot looks it up: with ``#`` first a line would be a comment, and in a variable
    Dovecot puts a backslash before an apostrophe. An alias with the recipient delimiter in its name is never looked up; Dovecot asks
    for what is before it.

    ``@domain`` is for those who have no line of their own. So in a domain with such a catch-all everybody has one, which tells of no
    quota where there are several mailboxes, or none.

    :param users: as in :func:`passwd_file`
    :param aliases: name, address or ``@domain`` to the addresses it stands for, as in :func:`_model.delivery.recipients`
    :param version: ``2.3`` or ``2.4``
    :param delimiter: the characters each of which begins a detail (RFC 5233)
    """
    _known(version)

    def mailbox(name: str) -> str | None:
        """Return the only mailbox that mail for a name ends in."""
        seen: set[str] = set()
        while name not in users:
            seen.add(name)
            plain = without_detail(name, delimiter)
            known = next((known for known in (name, plain, _caught(name)) if known in aliases), "")
            targets = [plain] if plain in users else aliases.get(known, ())
            if len(targets) != 1 or targets[0] in seen:
                return None
            name = targets[0]
        return name

    catch_alls = {name for name in aliases if name.startswith("@") and mailbox(name)}
    lines = []
    for alias in sorted(aliases):
        target = mailbox(alias)
        if _caught(alias) in catch_alls or (target and alias not in users):
            extra = f"userdb_user={target} {_quota(users[target], version)}".rstrip() if target else ""
            name = alias if alias.startswith("@") else "=" + alias.replace("'", "\\'")
            lines.append(f"{name}:::::::{extra}\n")
    return "".join(lines)


def tables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the passwd-files, path below /etc to text.

    :param given: ``model``; ``syntax``, 2.3 or 2.4; ``managed``, the first line of each file of locks; and ``locks``, the directory below
        /etc with those of the command postmaster-mail
    :raises MailError: an address that cannot be a login and a directory
    """
    model, version = given["model"], given["syntax"]
    commanded = {f"{given['locks'].removeprefix('/etc/')}/{name}": locks.NOBODY for name in locks.FILES} if given.get("locks") else {}
    return {
        **commanded,
        **{f"dovecot/locks/{name}": text for name, text in locks.files(model["users"], given.get("managed", "")).items()},
        "dovecot/users": passwd_file(model["users"], version),
        "dovecot/aliases": alias_file(
            model["users"], recipients(delivery(model), model["fqdn"]), version, model["recipient_delimiter"]
        ),
    }


def _caught(address: str) -> str:
    """Return the name of the catch-all that an address belongs to if nobody has it."""
    return f"@{address.rpartition('@')[2]}"


def sieve_string(text: str) -> str:
    """Return a quoted string of Sieve (RFC 5228 section 2.4.2)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def header_test(headers: Mapping[str, str]) -> str:
    """Return a Sieve test that is true when one of these headers has its value (RFC 5228 section 5.7).

    :param headers: header name to a value, compared without case, in which ``*`` and ``?`` stand for any characters
    :raises MailError: a name that is not that of a header (RFC 5322 section 2.2)
    """
    tests = []
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER.match(name):
            raise MailError(f"header {shown(name)} is not a header name (RFC 5322 section 2.2)")
        if not isinstance(value, str) or re.search(r"[\x00-\x1f\x7f]", value):
            raise MailError(f"header {shown(name)}: {shown(value)} is not a text without control characters (RFC 5228 section 2.4.2)")
        tests.append(f"header :matches {sieve_string(name)} {sieve_string(value)}")
    tests.sort()
    if not tests:
        return "false"
    return tests[0] if len(tests) == 1 else f"anyof ({', '.join(tests)})"


def sender_rules(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the users who have lists of senders: ``user``, a string of Sieve, and as tests of Sieve ``allowed_addresses``,
    ``blocked_addresses``, ``allowed_domains`` and ``blocked_domains``.

    A sender is in From; one that is blocked, in From or in the envelope. An address is meant with whatever detail its owner puts behind a
    plus, and a domain with what is below it.

    :param given: ``model``
    """
    rules = []
    for user, options in sorted(given["model"]["users"].items()):
        if options["allow"] or options["block"]:
            rule = {"user": sieve_string(user)}
            for kind, tests in (("allow", ("address",)), ("block", ("address", "envelope"))):
                senders = options[kind]
                addresses = [sender for sender in senders if not sender.startswith("@")]
                domains = [sender[1:] for sender in senders if sender.startswith("@")]
                details = [_literal(address).replace("@", "+*@") for address in addresses]
                rule[f"{kind}ed_addresses"] = _sender_test(tests, "", addresses, details)
                rule[f"{kind}ed_domains"] = _sender_test(tests, ":domain ", domains, [f"*.{domain}" for domain in domains])
            rules.append(rule)
    return rules


def _literal(text: str) -> str:
    """Return a pattern of Sieve that matches a text alone (RFC 5228 section 2.7.1)."""
    return re.sub(r"([*?\\])", r"\\\1", text)


def _sender_test(tests: Sequence[str], part: str, values: Sequence[str], patterns: Sequence[str]) -> str:
    """Return a test that is true when a sender is one of these values, or is like one of these patterns."""
    if not values:
        return "false"
    found = [f'{test} {part}{match} "from" [{", ".join(map(sieve_string, texts))}]'
             for test in tests for match, texts in ((":is", values), (":matches", patterns))]
    return f"anyof ({', '.join(found)})"


def unwanted_folders() -> str:
    """Return a string list of Sieve: what clients call the folders of deleted mail and of junk."""
    return f"[{', '.join(map(sieve_string, (*TRASH_NAMES, *JUNK_NAMES)))}]"
