# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_sizing`` means: the sizes of services that an operator sets instead of those computed by ``_services/sizing``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems


class Figure(NamedTuple):
    """A size: the least and the greatest value that makes sense, and what it is. Its unit, if it is no number of things, ends its name."""

    low: int
    high: int
    meaning: str


#: Every size, in the order in which the documentation lists them.
FIGURES: dict[str, Figure] = {
    "client_connections": Figure(1, 10_000, "SMTP connections at once of one client, an IPv4 address or a network of 64 bits of IPv6"),
    "lmtp_deliveries": Figure(1, 500, "deliveries into mailboxes at once, by either MTA"),
    "mta_filter_seconds": Figure(10, 1800, "how long the MTA waits for the filter's verdict, before it defers a message"),
    "postfix_processes": Figure(20, 10_000, "Postfix: processes of each service that has no limit of its own"),
    "postfix_smtpd_processes": Figure(5, 10_000, "Postfix: sessions on port 25 at once, each of them a process"),
    "postfix_submission_processes": Figure(5, 10_000, "Postfix: sessions on port 587 at once, and as many on 465"),
    "opensmtpd_open_files": Figure(512, 100_000, "OpenSMTPD: files that each of its processes may have open, five or so for a session"),
    "opensmtpd_scans": Figure(1, 1000, "OpenSMTPD: messages that its filter has judged at once"),
    "opensmtpd_questions": Figure(1, 1000, "OpenSMTPD: recipients and clients that its filter asks others about at once"),
    "dovecot_imap_sessions": Figure(10, 100_000, "IMAP sessions at once, most of them waiting for new mail"),
    "dovecot_imap_processes": Figure(10, 100_000, "IMAP sessions at once that do something, each of them a process"),
    "dovecot_user_sessions": Figure(1, 10_000, "IMAP sessions at once of one user from one address"),
    "dovecot_hibernate_seconds": Figure(1, 1740, "after how long an IMAP session that waits for new mail hibernates"),
    "dovecot_login_processes": Figure(1, 100, "processes that encrypt the IMAP sessions"),
    "dovecot_login_clients": Figure(10, 100_000, "IMAP sessions of each of them, and those that log in"),
    "dovecot_sieve_sessions": Figure(1, 10_000, "ManageSieve sessions at once"),
    "dovecot_pop3_sessions": Figure(1, 10_000, "POP3 sessions at once, where mail_mailboxes.pop3 asks for it"),
    "dovecot_auth_workers": Figure(1, 100, "passwords that are checked at once"),
    "dovecot_lmtp_processes": Figure(1, 1000, "LMTP connections that Dovecot takes at once; more than the MTA makes"),
    "dovecot_quota_processes": Figure(1, 1000, "recipients of which the MTA asks at once whether their mailbox is full"),
    "dovecot_clients": Figure(500, 200_000, "connections at once to a service of Dovecot that has one process for all, such as auth"),
    "dovecot_open_files": Figure(500, 400_000, "files that each process of Dovecot may have open (OpenBSD)"),
    "dovecot_vsz_mib": Figure(128, 65_536, "address space of each process of Dovecot; index files of large mailboxes are mapped into it"),
    "inotify_instances": Figure(128, 1_000_000, "IMAP sessions that the kernel may tell of new mail, all of one system user (Linux)"),
    "inotify_watches": Figure(8192, 10_000_000, "directories and files that it watches for them (Linux)"),
    "rspamd_workers": Figure(1, 100, "processes of Rspamd that judge messages"),
    "rspamd_task_seconds": Figure(5, 900, "how long the tests of one message may take, and as long again what comes after them"),
    "rspamd_proxy_seconds": Figure(6, 1200, "how long Rspamd keeps the MTA waiting for it"),
    "store_learnt_mib": Figure(16, 65_536, "memory for what the filter has learnt"),
    "store_passing_mib": Figure(8, 65_536, "memory for what it remembers for a while, such as greylisting"),
    "unbound_threads": Figure(1, 64, "threads of the resolver"),
    "unbound_outgoing_range": Figure(64, 16_384, "questions to other servers that each of them has under way at once"),
    "unbound_queries_per_thread": Figure(32, 8192, "questions of programs of this host that each of them answers at once"),
    "unbound_msg_cache_mib": Figure(1, 16_384, "memory for whole answers"),
    "unbound_rrset_cache_mib": Figure(1, 32_768, "memory for what they are made of"),
    "journald_interval_seconds": Figure(1, 3600, "the time in which a service may log no more than the next"),
    "journald_burst": Figure(1000, 10_000_000, "lines of one service in that time; the journal drops further ones (Debian)"),
}

#: Of each pair the first must be over before the second.
_SHORTER = (("rspamd_task_seconds", "rspamd_proxy_seconds"), ("rspamd_proxy_seconds", "mta_filter_seconds"))


def read_sizing(problems: Problems, given: Any) -> dict[str, int]:
    """Check the sizes that are set; those that are not set are computed for each host."""
    options = problems.mapping(given, "mail_sizing", tuple(FIGURES))
    found = {name: problems.integer(value, f"mail_sizing.{name}", FIGURES[name].low, FIGURES[name].high) for name, value in options.items()}
    for first, second in _SHORTER:
        if first in found and second in found:
            problems.attempt(_shorter, found, first, second)
    return found


def _shorter(sizes: Mapping[str, int], first: str, second: str) -> None:
    if sizes[first] >= sizes[second]:
        raise MailError(f"mail_sizing.{first} {sizes[first]} must be below mail_sizing.{second} {sizes[second]}: "
                        "who waits gives up before the answer comes")
