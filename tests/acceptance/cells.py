# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between the cells of MTA and system: the commands that break and mend things, and promises that cannot be kept."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator


@dataclasses.dataclass
class Waiting:
    """A message in the queue, for one recipient, and why it waits."""

    id: str
    recipient: str
    reason: str


def postfix_queue(listing: str) -> Iterator[Waiting]:
    """Read ``postqueue -j``."""
    for line in listing.splitlines():
        message = json.loads(line)
        for recipient in message["recipients"]:
            yield Waiting(message["queue_id"], recipient["address"], recipient.get("delay_reason", ""))


def opensmtpd_queue(listing: str) -> Iterator[Waiting]:
    """Read ``smtpctl show queue``: id, address family, kind, flags, sender, recipient as addressed, recipient after expansion, six more,
    reason."""
    for line in listing.splitlines():
        fields = line.split("|", 13)
        yield Waiting(fields[0], fields[6], fields[13] if len(fields) > 13 else "")


@dataclasses.dataclass
class Mta:
    """How to look into the queue (``list``, read by ``read``), remove from it, and try all of it now; what speaks LMTP with Dovecot, and
    under which user (``mta_user`` of the commands), as arguments of pkill(1) and pgrep(1).

    ``srs_hash`` takes the secret of forwarded mail's senders, the stamp, domain and local part of one, and the domain that it comes back
    to; ``srs_length`` is how long that hash is.
    ``knows_accounts`` is whether it knows which account of the host a message is from; ``srs_at_alias``, whether forwarded mail comes back
    to the domain of its alias, whichever that is; ``answers_alone``, whether recipients are answered while the filter hangs.
    """

    list: str
    read: Callable[[str], Iterator[Waiting]]
    remove: str
    flush: str
    srs_hash: Callable[[str, str, str, str, str], str]
    agent: str
    srs_length: int
    knows_accounts: bool = False
    srs_at_alias: bool = False
    answers_alone: bool = False


#: smtpd can make no longer ones.
_SRS_LENGTH = {"postfix": 8, "opensmtpd": 4}


def postfix_srs_hash(key: str, stamp: str, domain: str, local: str, _back: str) -> str:
    """Return the hash of libsrs2, which PostSRSd uses."""
    digest = base64.b64encode(hmac.digest(key.encode(), f"{stamp}{domain}{local}".lower().encode(), "sha1"))
    return digest.decode()[: _SRS_LENGTH["postfix"]]


def opensmtpd_srs_hash(key: str, stamp: str, domain: str, local: str, back: str) -> str:
    """Return the hash of smtpd's own scheme (srs.c), in the alphabet of RFC 3548 section 4."""
    digest = base64.urlsafe_b64encode(hashlib.sha1(f"{key}{stamp}={domain}={local}@{back}".encode()).digest())
    return digest.decode()[: _SRS_LENGTH["opensmtpd"]]


# What a program on the host sends waits before the queue, and pickup looks for it once a minute, or when it is told. Whoever tells it
# dies of SIGPIPE if it hangs up first.
_POSTFIX_FLUSH = "postqueue -f && for try in 1 2 3 4 5; do if postkick public pickup W; then break; fi; done"

MTAS = {
    "postfix": Mta("postqueue -j", postfix_queue, "postsuper -d {id}", _POSTFIX_FLUSH, postfix_srs_hash,
                   "-x lmtp -u {mta_user}", _SRS_LENGTH["postfix"], knows_accounts=True),
    "opensmtpd": Mta("smtpctl show queue", opensmtpd_queue, "smtpctl remove {id}", "smtpctl schedule all", opensmtpd_srs_hash,
                     "-x mail.lmtp", _SRS_LENGTH["opensmtpd"], srs_at_alias=True, answers_alone=True),
}

#: Suites in which a message that has been learnt as both kinds is not always learnt a third time: Rspamd 3.4, which a simulated OpenBSD has
#: as well.
LEARNS_TWICE = ("bookworm", "openbsd")

#: What a machine may seem to keep that is too slow to break it.
BY_CHANCE = ("slow-provider", "slow-by-mx")

#: MTA or system to promise to the reason why it cannot keep that, and what the role does instead. Each is tried all the same: one
#: that is kept after all does not belong here.
_UNSUPPORTED: dict[str, dict[str, str]] = {
    "opensmtpd": {
        "dane": "OpenSMTPD knows no TLSA records (RFC 7672). It encrypts whenever the other side offers it, without checking the "
        "certificate; a smarthost of one's own is checked.",
        "envelope-without-brackets": "smtpd refuses an address without its brackets before it asks a filter (smtp_mailaddr of its "
        "smtp_session.c). A scanner that leaves them out needs a server with Postfix.",
        "own-mail-waits": "smtpd's sendmail hands a message over at once or not at all: what is refused, for now or for good, it leaves in "
        "dead.letter and reports as lost. What the host's own programs send waits 30 s for a filter that restarts, then leaves as it is.",
        "slow-by-mx": "smtpd has no word for the hosts of MX records in a limit: mta limit is for a recipient's domain. The role names the "
        "domains that Google, Microsoft and others have themselves.",
        "slow-provider": "smtpd counts connections for each domain and for each host, and has no word for several domains together. The "
        "role gives each of a provider's domains the provider's limits, and each of their hosts: domains that share their hosts share the "
        "limits.",
    },
}


#: Promises of the filter, by what a host without it (mail_filter: false) does not do. README says the same.
_OF_FILTER = {
    "nothing looks for spam, viruses or programs in mail": (
        "gtube", "junk-folder", "large-archives", "blocked-attachments", "viruses", "why", "sender-lists", "users-sender-lists",
        "sender-lists-by-command",
    ),
    "there is no filter or store that could fail, or learn": (
        "store-cannot-write", "junk-learning", "junk-moved-at-once", "learns-by-itself", "learnt-stays", "filter-down", "filter-hangs",
        "own-mail-restart", "own-mail-waits",
    ),
    "SPF, DKIM and DMARC of what comes from others are not looked at": (
        "in-from-bigmail", "forged-from", "neighbour", "from-read-alike",
    ),
    "of a sender the envelope is checked, and not From; of programs, what sendmail is told": (
        "header-sender", "read-receipt", "host-senders", "sieve-forgery",
    ),
    "no stranger is known to be who he says, so no script answers one": ("sieve-answers", "vacation"),
    "lines that are too long for SMTP are broken after the signature": ("long-lines",),
    "nothing counts to how many recipients an account sends": ("sending-limit",),
}


def without_filter(mta: str) -> dict[str, str]:
    """Return the promises that a host without the filter does not make, with the reason."""
    found = {name: why for why, names in _OF_FILTER.items() for name in names}
    if mta == "opensmtpd":
        found["trace"] = "smtpd logs no Message-ID, by which a message would be found"
    return {name: f"mail_filter: false: {why}" for name, why in found.items()}


def system(suite: str, guest: str = "") -> str:
    """Return what a host runs, from its ``testnet_suite`` and ``testnet_guest``: ``openbsd``, simulated or true, or Debian's suite.

    A virtual machine has a suite as well, the default one, which says nothing of an OpenBSD that is installed there.
    """
    return "openbsd" if guest == "openbsd" else suite


def simulated(suite: str) -> bool:
    """Tell whether a host only looks like OpenBSD. A virtual machine never does."""
    return suite == "openbsd"


def unsupported(mta: str, runs: str) -> dict[str, str]:
    """Return the promises that a cell of MTA and system cannot keep, with the reason."""
    return {**_UNSUPPORTED.get(mta, {}), **_UNSUPPORTED.get(runs, {})}



def counts_networks(mta: str, runs: str) -> bool:
    """Tell whether the limits of one client are those of its whole network of IPv6. Postfix can do that since 3.8."""
    return mta == "opensmtpd" or runs not in ("bookworm", "openbsd")


#: TCP ports that are open, beside those of mail and SSH. httpd answers the certificate's authority there all the time; certbot listens
#: only while it is asked.
FURTHER_PORTS = {"openbsd": {80}}

# The backend counts what it has learnt itself.
_LEARNED = (
    "eval \"local s, h = 0, 0; for _, k in ipairs(redis.call('keys', 'RS*')) do "
    "if redis.call('type', k).ok == 'hash' then s = s + (redis.call('hget', k, 'learns_spam') or 0); "
    "h = h + (redis.call('hget', k, 'learns_ham') or 0) end end return {s, h}\" 0"
)
# While it loads what it has kept, it answers every question with LOADING, and its client then ends well.
_ANSWERS = "until [ \"$({ask} ping 2>&1)\" = PONG ]; do sleep 0.3; done"
# As if the time that greylisting asks for had passed.
_LATER = "eval \"for _, k in ipairs(redis.call('keys', 'rg*')) do redis.call('set', k, redis.call('get', k) - 600, 'keepttl') end\" 0"


# Where the roles put files.
_STATE = "/etc /usr/local/etc /usr/local/lib/postmaster-mail /usr/local/sbin /var/lib/postmaster-mail"

# What waits, as if it had come a day before: where it is known to the MTA from its file alone, and where it has to be read anew.
# Postfix writes down when a message came (T), and, if ever, when its sender is to be told (W).
_POSTFIX_LATER = """python3 -c '
import pathlib, re, sys
path = pathlib.Path(sys.argv[1])
earlier = lambda found: found[1] + b"%d" % (int(found[2]) - 86400)
changed = re.sub(rb"([TW][\\n-\\x12] *)(\\d{{10}})", earlier, path.read_bytes())
with path.open("r+b") as file: file.write(changed)
' "$(find $(postconf -h queue_directory)/deferred -name {id})\""""
_OPENSMTPD_LATER = """sed -i "s/^ctime: .*/ctime: $(($(date +%s) - 86400))/" /var/spool/smtpd/queue/*/*/{id}"""
_OPENSMTPD_UP = "until smtpctl show stats > /dev/null 2>&1; do sleep 0.2; done"


# A session of IMAP that another clock is shown, as if so many days had passed; what shows it is not installed.
# Files keep their dates: else a message that comes meanwhile is noted as saved in the future, and what came after it stays as well.
_DAYS_LATER = """set -e; place=$(mktemp -d); chmod 755 $place; cd $place; apt-get -qq download libfaketime 2> /dev/null
dpkg-deb -x libfaketime_*.deb .; shown=$(find $place -name libfaketime.so.1)
printf 'a LOGOUT\\r\\n' | LD_PRELOAD=$shown NO_FAKE_STAT=1 FAKETIME=+{days}d /usr/lib/dovecot/imap -u {user} > /dev/null 2>&1
rm -r $place"""


# The secret of forwarded mail's senders, out of a line like: srs key "..."
_SMTPD_SRS_KEY = "cut -s -d '\"' -f 2 "


def _a_day_later(mta: str, stop: str, start: str) -> str:
    return {"postfix": _POSTFIX_LATER, "opensmtpd": f"{stop} && {_OPENSMTPD_LATER} && {start} && {_OPENSMTPD_UP}"}[mta]


def commands(mta: str, runs: str, filtered: bool = True) -> dict[str, str]:
    """Return what the promises need a shell for on a host, with the filter or without. ``a_day_later`` has ``{id}`` of what waits."""
    if runs == "openbsd":
        ask, ask_passing = (f"redis-cli -s /var/run/redis/{name}.sock --raw" for name in ("redis", "rspamd-passing"))
        service = {"postfix": "postfix", "opensmtpd": "smtpd"}[mta]
        return {
            "store": ask,
            "store_passing": ask_passing,
            "learned": f"{ask} {_LEARNED}",
            "learned_as": f"{ask} hgetall learned_ids | sort | cksum",
            "greylist_later": f"{ask_passing} {_LATER}",
            "a_day_later": _a_day_later(mta, f"rcctl stop {service}", f"rcctl start {service}"),
            "mta_user": {"postfix": "_postfix", "opensmtpd": "_smtpd"}[mta],
            "filter_directory": "/var/run/rspamd",
            "srs_key": {"postfix": "cat /etc/mail/postfix.srs.secret", "opensmtpd": _SMTPD_SRS_KEY + "/etc/mail/smtpd.srs.conf"}[mta],
            "python": "/usr/local/bin/python3",
            "days_later": "",
            "lmtp": "/var/dovecot/mta-lmtp",
            "restart_store": f"rcctl restart redis postmaster_store_passing && {_ANSWERS.format(ask=ask)}",
            "stop_filter": "rcctl stop rspamd",
            "start_filter": "rcctl start rspamd",
            "signal_filter": "pkill -{signal} -f '^rspamd: '",
            "stop_delivery": "rcctl stop dovecot",
            "stop_resolver": "rcctl stop unbound",
            "start_resolver": "rcctl start unbound",
            "restart_all": f"rcctl restart unbound redis postmaster_store_passing rspamd {service} && rcctl start dovecot",
            # syslogd does not know who writes a line.
            "log_as": "",
            "renew": "/etc/postmaster-mail/renew-certificate -F",
            "unban": "pfctl -a mail -t banned -T flush",
            "unban_one": "pfctl -a mail -t banned -T delete {address}",
            "banned": "pfctl -q -a mail -t banned -T test {address}",
            # Of the simulated host the one, of a true one the other.
            "udp": "/usr/lib/simulation/lib/ss -Hlun 'sport != :68' 2>/dev/null || netstat -ln -p udp",
            "state": f"find {_STATE} -xdev -type f -exec cksum {{}} + | sort | cksum; "
            f"find {_STATE} -xdev -type f -exec ls -ln {{}} + | sort | cksum; pkg_info | cksum",
        }
    store, backend = {"bookworm": ("redis", "redis-server@rspamd")}.get(runs, ("valkey", "valkey-server@rspamd"))
    filters = f"{backend} {backend}-passing rspamd" if filtered else {"postfix": "opendkim", "opensmtpd": ""}[mta]
    ask, ask_passing = (f"{store}-cli -s /run/{store}-{name}/{store}-server.sock --raw" for name in ("rspamd", "rspamd-passing"))
    return {
        "store": ask,
        "store_passing": ask_passing,
        "learned": f"{ask} {_LEARNED}",
        "learned_as": f"{ask} hgetall learned_ids | sort | cksum",
        "greylist_later": f"{ask_passing} {_LATER}",
        "a_day_later": _a_day_later(mta, f"systemctl stop {mta}", f"systemctl start {mta}"),
        "mta_user": mta,
        "filter_directory": "/run/rspamd-mta" if filtered else {"postfix": "/run/opendkim-mta", "opensmtpd": ""}[mta],
        "srs_key": {"postfix": "cat /etc/postfix.srs.secret", "opensmtpd": _SMTPD_SRS_KEY + "/etc/smtpd.srs.conf"}[mta],
        "python": "python3",
        "days_later": _DAYS_LATER,
        "lmtp": "/run/dovecot/mta-lmtp",
        "restart_store": f"systemctl restart {backend} {backend}-passing && {_ANSWERS.format(ask=ask)}",
        "stop_filter": "systemctl stop rspamd",
        "start_filter": "systemctl start rspamd",
        "signal_filter": "systemctl kill -s {signal} rspamd",
        "stop_scanner": "systemctl stop clamav-daemon.socket clamav-daemon.service",
        "start_scanner": "systemctl start clamav-daemon.socket clamav-daemon.service",
        "stop_delivery": "systemctl stop dovecot",
        "stop_resolver": "systemctl stop unbound",
        "start_resolver": "systemctl start unbound",
        "restart_all": f"systemctl restart unbound {filters} {mta} && systemctl start dovecot",
        "log_as": "logger -p mail.info -t {name} {text}",
        "renew": "REQUESTS_CA_BUNDLE=/etc/postmaster-mail/acme-ca.pem certbot renew --force-renewal --quiet --no-random-sleep-on-renew",
        "unban": "fail2ban-client unban --all" if filtered else "; ".join(f"nft flush set inet postmaster_mail banned{n}" for n in (4, 6)),
        "unban_one": "fail2ban-client set postmaster-mail unbanip {address}" if filtered else
        " || ".join(f"nft delete element inet postmaster_mail banned{n} '{{{{ {{address}} }}}}'" for n in (4, 6)),
        "udp": "ss -Hlun 'sport != :68'",
        "state": f"find {_STATE} -xdev -type f -printf '%p %s %T@ %m\\n' | sort | sha256sum; dpkg -l | sha256sum",
    }
