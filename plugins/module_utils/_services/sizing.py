# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How large each service may become on a host: computed from its memory, its processors and the number of users. Pure functions.

Limits are not reserved: a service has what it uses. But all of them together are to fit into the memory, also on the morning on which each
is reached. What an operator sets by ``mail_sizing`` is taken as it is, and sizes that depend on it follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._model.sizing import FIGURES

#: Sessions of each user that wait for new mail: three devices, of which some watch more than one folder.
_SESSIONS_PER_USER = 6
#: Memory and users are rounded, so that neither a new kernel nor one more user changes the configuration.
_MEMORY_STEP = 256
_LEAST_USERS = 16

#: MiB that each of these takes.
COSTS = {
    "postfix_smtpd_processes": 3,  # with that of cleanup
    "postfix_submission_processes": 2 * 3,  # two ports
    "dovecot_imap_processes": 2.4,
    "dovecot_imap_sessions": 0.11,  # of the process that encrypts it, and of the one in which it hibernates
    "dovecot_lmtp_processes": 4,
    "dovecot_quota_processes": 1.6,
    "dovecot_auth_workers": 1.5,  # which share most of what they have
    "rspamd_workers": 60,
    "store_learnt_mib": 1,
    "store_passing_mib": 1,
    "unbound_msg_cache_mib": 1,
    "unbound_rrset_cache_mib": 1,
}
#: MiB of ClamAV with all its signatures, and again as much while it reads new ones.
ANTIVIRUS = 2 * 1300
#: MiB of the system, and of the processes of which there is one.
BASE = 190


class _Sizes:
    """The sizes of one host."""

    def __init__(self, memory: int, cores: int, users: int, overrides: Mapping[str, int]) -> None:
        self.memory = max(1, round(memory / _MEMORY_STEP)) * _MEMORY_STEP
        #: What is left of it, to be shared out.
        self.room = self.memory - BASE
        self.cores = max(1, cores)
        # The next power of two: only who doubles the users of a server sees other sizes.
        self.users = max(_LEAST_USERS, 1 << max(0, users - 1).bit_length())
        self.overrides = overrides
        self.found: dict[str, int] = {}

    def set(self, name: str, value: float, least: int = 0, most: int = 0) -> int:
        """Set a size to a value within bounds, its own where none are given, unless it is overridden; return it."""
        low, high = max(least, FIGURES[name].low), min(most or FIGURES[name].high, FIGURES[name].high)
        self.found[name] = int(self.overrides.get(name, max(low, min(value, high))))
        return self.found[name]

    def smtp(self) -> None:
        """A quarter of the room: three parts for port 25, and one for each port of users."""
        sessions = self.room / 4 / COSTS["postfix_smtpd_processes"]
        smtpd = self.set("postfix_smtpd_processes", sessions * 0.6, 20, 500)
        submission = self.set("postfix_submission_processes", sessions * 0.2, 10, 250)
        self.set("postfix_processes", max(100, smtpd, submission))
        # No client has more than two thirds of port 25.
        self.set("client_connections", smtpd * 2 / 3, 15, 100)
        self.set("opensmtpd_open_files", 5 * (smtpd + 2 * submission) + 256, 1024)
        # What waits for Rspamd takes memory there, too.
        self.set("opensmtpd_scans", 16 * self.cores, 16, 128)
        self.set("opensmtpd_questions", 16 * self.cores, 16, 128)

    def delivery(self) -> None:
        """Mail of one list goes to as many mailboxes at once as the disk and the processors bear."""
        deliveries = self.set("lmtp_deliveries", min(10 * self.cores, self.room / 20 / COSTS["dovecot_lmtp_processes"]), 5, 50)
        self.set("dovecot_lmtp_processes", deliveries + max(2, deliveries // 5))
        self.set("dovecot_quota_processes", 10 * self.cores, 10, 40)

    def imap(self, hibernation: bool) -> None:
        """A third of the room for sessions that do something, a ninth for those that wait."""
        processes = self.room * 0.33 / COSTS["dovecot_imap_processes"]
        room = self.room / 9 / COSTS["dovecot_imap_sessions"] if hibernation else processes
        sessions = self.set("dovecot_imap_sessions", min(max(200, self.users * _SESSIONS_PER_USER), room), 50, 20_000)
        # Past their limit Dovecot 2.4.1 not only refuses a session: the process that encrypts it may end, and all of its sessions with
        # it. So when everybody comes back at once there may be twice as many, which are gone within seconds.
        self.set("dovecot_imap_processes", min(sessions, 2 * processes) if hibernation else sessions, 50)
        self.set("dovecot_user_sessions", 20)
        # So that those of a morning of 40 log-ins a second that have just logged in are no more than a hundred or two.
        self.set("dovecot_hibernate_seconds", 2)
        logins = self.set("dovecot_login_processes", self.cores, 1, 4)
        self.set("dovecot_login_clients", (1.1 * sessions + 200) / logins, 100)
        self.set("dovecot_sieve_sessions", self.users / 10, 20, 200)
        # They last for seconds.
        self.set("dovecot_pop3_sessions", self.users / 10, 20, 200)
        self.set("inotify_instances", sessions + 128)
        # New mail, mail that was seen, and indexes.
        self.set("inotify_watches", 8 * sessions, 65_536)

    def dovecot(self) -> None:
        """What all its services have in common."""
        # More than processors: until the first of them has said how many there may be, Dovecot 2.4 asks for one for each log-in that waits,
        # and those that it does not get fail.
        self.set("dovecot_auth_workers", 12 * self.cores, 12, 64)
        connected = sum(self.found[f"dovecot_{name}"] for name in (
            "imap_sessions", "imap_processes", "sieve_sessions", "lmtp_processes", "quota_processes", "auth_workers"))
        clients = self.set("dovecot_clients", connected + 2 * self.found["postfix_submission_processes"] + 200, 1000)
        # A session that is encrypted is two files.
        self.set("dovecot_open_files", 2 * max(clients, self.found["dovecot_login_clients"]) + 256, 1024)
        # Nothing of it is taken before it is used. Index files of large mailboxes need more than the 256 MiB of Dovecot 2.3.
        self.set("dovecot_vsz_mib", self.memory / 2, 512, 1024)

    def filter(self) -> None:
        """Each waits a little longer than whom it waits for. Rspamd gives what comes after the tests as long again as the tests."""
        self.set("rspamd_workers", min(self.cores, self.memory // 512), 1, 16)
        task = self.set("rspamd_task_seconds", 30)
        proxy = self.set("rspamd_proxy_seconds", 2 * task + 15)
        self.set("mta_filter_seconds", proxy + 15)
        self.set("store_learnt_mib", self.memory / 20, 32, 1024)
        self.set("store_passing_mib", self.memory / 64, 16, 256)

    def resolver(self) -> None:
        """A message from outside is some thirty questions to lists of names and addresses."""
        threads = self.set("unbound_threads", min(self.cores, self.memory // 512), 1, 8)
        queries = self.set("unbound_queries_per_thread", 30 * self.found["postfix_smtpd_processes"] / threads, 512, 2048)
        self.set("unbound_outgoing_range", 2 * queries)
        messages = self.set("unbound_msg_cache_mib", self.memory / 128, 2, 128)
        self.set("unbound_rrset_cache_mib", 2 * messages)

    def journal(self) -> None:
        """A message is a dozen lines, and a processor does not take a hundred of them in a second."""
        seconds = self.set("journald_interval_seconds", 30)
        self.set("journald_burst", 12 * 100 * seconds * self.cores, 50_000)


def sizes(memory: int, cores: int, users: int, overrides: Mapping[str, int], hibernation: bool = True) -> dict[str, int]:
    """Return every size of :data:`_model.sizing.FIGURES`, by name.

    :param memory: what the host may use, in MiB
    :param cores: how many processors it may use at once
    :param users: how many mailboxes it has
    :param overrides: sizes that are set, as the model has them; those that depend on one follow it
    :param hibernation: whether its Dovecot can put IMAP sessions to sleep, which then need no process; it can on Linux
    """
    host = _Sizes(memory, cores, users, overrides)
    host.smtp()
    host.delivery()
    host.imap(hibernation)
    host.dovecot()
    host.filter()
    host.resolver()
    host.journal()
    return {name: host.found[name] for name in FIGURES}


def memory_at_limits(found: Mapping[str, int], hibernation: bool = True) -> int:
    """Return what all services take together if each of these sizes is reached, in MiB.

    :param hibernation: as for :func:`sizes`
    """
    everything = BASE + sum(found[name] * cost for name, cost in COSTS.items())
    # Where sessions sleep, half of these are there for seconds only.
    return round(everything - (found["dovecot_imap_processes"] / 2 * COSTS["dovecot_imap_processes"] if hibernation else 0))


def values(given: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of a host.

    :param given: ``model``; ``memory`` and ``cores``, as the host's facts; and ``hibernation``, as for :func:`sizes`
    """
    model = given["model"]
    memory = given["memory"] - (ANTIVIRUS if model["filter"]["antivirus"] else 0)
    return sizes(memory, given["cores"], len(model["users"]), model["sizing"], given.get("hibernation", True))
