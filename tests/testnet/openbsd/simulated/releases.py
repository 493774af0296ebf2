# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each release of OpenBSD has: its packages, by name, flavour and branch, and what pkg_add puts in place. Data only."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Package:
    """One package of one release."""

    stem: str
    version: str
    pkgpath: str  # its last component is the branch
    flavour: str = ""
    branched: bool = False  # whether %branch is part of what one has to say
    content: str = ""  # the entry of CONTENT that it puts in place
    depends: tuple[str, ...] = ()  # stems
    comment: str = ""

    @property
    def name(self) -> str:
        """The full package name."""
        return "-".join(part for part in (self.stem, self.version, self.flavour) if part)

    @property
    def branch(self) -> str:
        """The branch, for stem%branch."""
        return self.pkgpath.rpartition("/")[2].partition(",")[0]


@dataclasses.dataclass(frozen=True)
class User:
    """A user and the group of the same name and number, made by a package."""

    name: str
    number: int
    gecos: str
    home: str = "/nonexistent"
    login_class: str = "daemon"


@dataclasses.dataclass(frozen=True)
class Content:
    """What pkg_add puts in place."""

    debs: tuple[str, ...] = ()  # Debian's packages in the store
    links: dict[str, str] = dataclasses.field(default_factory=dict)  # path prefix in Debian's package -> prefixes on OpenBSD
    copies: dict[str, str] = dataclasses.field(default_factory=dict)  # configuration: Debian's prefix -> prefix on OpenBSD
    files: tuple[str, ...] = ()  # paths below files/ that belong to it
    users: tuple[User, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()  # that no user has as their own
    directories: tuple[tuple[str, str, str, int], ...] = ()  # path, owner, group, mode
    rcscripts: tuple[str, ...] = ()
    extra_links: dict[str, str] = dataclasses.field(default_factory=dict)  # path -> target
    linked: bool = True  # into the store; a program that looks at links finds files instead
    setgid: dict[str, str] = dataclasses.field(default_factory=dict)  # program -> group
    unseen: tuple[str, ...] = ()  # prefixes of what is not put where Debian has it
    python: tuple[str, ...] = ()  # names in Debian's dist-packages
    login_class: str = ""  # text of /etc/login.conf.d/STEM
    interpreter: bool = False  # the Python that Ansible is to find
    script: str = ""  # the module of ours that does what its @exec-add and @unexec-delete do


_DOVECOT_LINKS = {
    "usr/sbin/dovecot": "usr/local/sbin/dovecot", "usr/bin/": "usr/local/bin/", "usr/lib/dovecot/modules/": "usr/local/lib/dovecot/",
    "usr/share/doc/dovecot-core/example-config/": "usr/local/share/examples/dovecot/example-config/"}

CONTENT: dict[str, Content] = {
    "dovecot": Content(
        debs=("dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-pop3d"), links=_DOVECOT_LINKS,
        copies={"usr/share/dovecot/conf.d/": "etc/dovecot/conf.d/", "usr/share/dovecot/dovecot.conf": "etc/dovecot/dovecot.conf"},
        users=(User("_dovecot", 518, "Dovecot Account"), User("_dovenull", 666, "Dovecot Login User")),
        directories=(("/etc/dovecot", "root", "wheel", 0o755), ("/var/dovecot", "root", "wheel", 0o755)),
        extra_links={"/usr/local/libexec/dovecot": "/usr/lib/dovecot", "/usr/lib/doveconf": "/usr/local/bin/doveconf"},
        rcscripts=("dovecot",), login_class="dovecot:\\\n\t:openfiles-cur=1024:\\\n\t:openfiles-max=2048:\\\n\t:tc=daemon:\n"),
    "pigeonhole": Content(debs=("dovecot-sieve", "dovecot-managesieved"), links=_DOVECOT_LINKS),
    "redis": Content(
        debs=("redis-server", "redis-tools"),
        links={"usr/bin/redis-server": "usr/local/sbin/redis-server", "usr/bin/redis-cli": "usr/local/bin/redis-cli",
               "usr/bin/redis-benchmark": "usr/local/bin/redis-benchmark"},
        files=("etc/redis/redis.conf",), users=(User("_redis", 686, "Redis Account", "/var/redis"),),
        directories=(("/var/redis", "_redis", "_redis", 0o700), ("/var/run/redis", "_redis", "_redis", 0o755)), rcscripts=("redis",)),
    "rspamd": Content(
        debs=("rspamd",),
        links={"usr/bin/": "usr/local/bin/", "usr/share/rspamd/": "usr/local/share/rspamd/"},
        copies={"etc/rspamd/": "etc/rspamd/"}, files=("etc/rspamd/local.d/redis.conf",), users=(User("_rspamd", 756, "rspamd Daemon"),),
        directories=(("/etc/rspamd/override.d", "root", "wheel", 0o755), ("/var/rspamd", "_rspamd", "_rspamd", 0o755),
                     ("/var/log/rspamd", "_rspamd", "_rspamd", 0o755), ("/var/run/rspamd", "_rspamd", "_rspamd", 0o755)),
        extra_links={"/var/lib/rspamd": "/var/rspamd"}, rcscripts=("rspamd",),
        login_class="rspamd:\\\n\t:openfiles-cur=2048:\\\n\t:openfiles-max=4096:\\\n\t:tc=daemon:\n"),
    "filter-rspamd": Content(debs=("opensmtpd-filter-rspamd",), links={"usr/libexec/opensmtpd/": "usr/local/libexec/smtpd/"}),
    "filter-senderscore": Content(debs=("opensmtpd-filter-senderscore",), links={"usr/libexec/opensmtpd/": "usr/local/libexec/smtpd/"}),
    "filter-dkimsign": Content(
        debs=("opensmtpd-filter-dkimsign",), links={"usr/libexec/opensmtpd/": "usr/local/libexec/smtpd/"},
        users=(User("_dkimsign", 843, "OpenSMTPD filter-dkimsign"),), directories=(("/etc/mail/dkim", "root", "_dkimsign", 0o770),)),
    "python3": Content(interpreter=True),
    "py3-cryptography": Content(python=("cryptography", "_cffi_backend.*", "cryptography-*")),
    "py3-dnspython": Content(python=("dns", "dnspython-*")),
    "postfix": Content(
        debs=("postfix",),
        links={"usr/sbin/": "usr/local/sbin/", "usr/bin/mailq": "usr/local/sbin/mailq", "usr/bin/newaliases": "usr/local/sbin/newaliases",
               "usr/lib/postfix/sbin/": "usr/local/libexec/postfix/"},
        copies={"etc/postfix/postfix-files": "etc/postfix/postfix-files"}, files=("etc/postfix/main.cf", "etc/postfix/master.cf"),
        users=(User("_postfix", 507, "Postfix Daemon", "/var/empty"),), groups=(("_postdrop", 508),),
        directories=(("/etc/postfix", "root", "wheel", 0o755), ("/etc/postfix/postfix-files.d", "root", "wheel", 0o755)),
        linked=False, setgid={"/usr/local/sbin/postdrop": "_postdrop", "/usr/local/sbin/postqueue": "_postdrop"},
        extra_links={f"/usr/local/sbin/postfix-{word}": "/usr/lib/simulation/run" for word in ("enable", "disable")},
        unseen=("usr/lib/postfix/sbin/", "usr/lib/sendmail", "usr/lib/networkd-dispatcher/"), rcscripts=("postfix",), script="postfix"),
    "p5-Mail-DKIM": Content(debs=("libmail-dkim-perl",), links={"usr/share/perl5/": "usr/local/libdata/perl5/site_perl/"}),
    # Debian has it no more: the program is simulated, and signs with the same library.
    "dkimproxy": Content(
        files=("etc/dkimproxy_in.conf", "etc/dkimproxy_out.conf"), users=(User("_dkimproxy", 721, "dkimproxy user"),),
        extra_links={f"/usr/local/bin/dkimproxy.{way}": "/usr/lib/simulation/files/usr/local/bin/dkimproxy.out" for way in ("in", "out")},
        rcscripts=("dkimproxy_in", "dkimproxy_out")),
    "curl": Content(debs=("curl",), links={"usr/bin/curl": "usr/local/bin/curl"}),
}

_VERSIONS = {
    "7.8": {"python": "3.12.12", "dovecot": "2.3.21.1p1v0", "pigeonhole": "0.5.21.1v1", "rspamd": "3.13.1", "redis": "6.2.20",
            "cryptography": "45.0.7", "dnspython": "2.7.0", "curl": "8.16.0", "quirks": "7.147"},
    "7.9": {"python": "3.13.13", "dovecot": "2.3.21.1p3v0", "pigeonhole": "0.5.21.1v1", "rspamd": "3.14.3", "redis": "6.2.22",
            "cryptography": "46.0.5", "dnspython": "2.8.0", "curl": "8.19.0", "quirks": "7.183"},
    "8.0": {"python": "3.14.7", "dovecot": "2.3.21.1p4v0", "pigeonhole": "0.5.21.1v2", "rspamd": "3.14.3", "redis": "6.2.22",
            "cryptography": "46.0.7", "dnspython": "2.8.0", "curl": "8.20.0", "quirks": "8.4"},
}


def packages(release: str) -> list[Package]:
    """Return the packages of a release; those of no use to a mail server are left out."""
    if release not in _VERSIONS:
        raise ValueError(f"no packages known for release {release!r}; known are {', '.join(_VERSIONS)}")
    version = _VERSIONS[release]
    redis = "redis%bsd" if release == "8.0" else "redis"
    found = [
        Package("python", "2.7.18p11", "lang/python/2.7", branched=True, comment="interpreted object-oriented programming language"),
        Package("python", version["python"], "lang/python/3", branched=True, content="python3",
                comment="interpreted object-oriented programming language"),
        Package("py3-cryptography", version["cryptography"], "security/py-cryptography,python3", content="py3-cryptography",
                depends=("python%3",), comment="cryptographic recipes and primitives for Python"),
        Package("py3-dnspython", version["dnspython"], "net/py-dnspython,python3", content="py3-dnspython", depends=("python%3",),
                comment="DNS toolkit for Python"),
        Package("dovecot", version["dovecot"], "mail/dovecot,-server", content="dovecot", comment="compact IMAP/POP3 server"),
        Package("dovecot-pigeonhole", version["pigeonhole"], "mail/dovecot-pigeonhole,-main", content="pigeonhole", depends=("dovecot",),
                comment="Sieve mail filtering for Dovecot"),
        *(Package("rspamd", version["rspamd"], "mail/rspamd", flavour, content="rspamd", depends=(redis,),
                  comment="event-driven spam filtering system") for flavour in ("", "hyperscan")),
        *(Package(f"opensmtpd-filter-{name}", number, f"mail/opensmtpd-filters/{name}", content=f"filter-{name}", comment=text)
          for name, number, text in (("rspamd", "0.1.8p8", "rspamd integration to the OpenSMTPD daemon"),
                                     ("senderscore", "0.1.2p6", "senderscore integration to the OpenSMTPD daemon"),
                                     ("dkimsign", "0.6p3", "dkim signer integration to the OpenSMTPD daemon"))),
        *(Package("postfix", number, f"mail/postfix/{branch}", flavour, branched=True, content="postfix",
                  comment="fast, secure sendmail replacement")
          for branch, number in (("stable", "3.11.1p0"), ("stable35", "3.5.25p9v0"), ("snapshot", "3.12.20260410v1"))
          for flavour in ("", "ldap", "mysql", "pgsql", "sasl2")),
        # Of Mail::DKIM's and dkimproxy's Perl modules, only what is looked at. Which revision a release had is not established.
        Package("p5-Mail-DKIM", "1.20240619", "mail/p5-Mail-DKIM", content="p5-Mail-DKIM",
                comment="DKIM and DomainKeys message-signing implementation"),
        Package("dkimproxy", "1.4.1p4", "mail/dkimproxy", content="dkimproxy", depends=("p5-Mail-DKIM",),
                comment="SMTP proxy to verify or add DKIM signatures"),
        Package("curl", version["curl"], "net/curl", content="curl", comment="transfer files with FTP, HTTP, HTTPS, etc."),
    ]
    if release == "8.0":
        found += [Package("redis", version["redis"], "databases/redis/bsd", branched=True, content="redis",
                          comment="persistent key-value database, BSD licensed"),
                  Package("redis", "8.8.1", "databases/redis/main", branched=True, comment="persistent key-value database, AGPL")]
    else:
        found.append(Package("redis", version["redis"], "databases/redis", content="redis", comment="persistent key-value database"))
    return found


def quirks(release: str) -> str:
    """Return the name of the package that pkg_add fetches before all others."""
    return f"quirks-{_VERSIONS[release]['quirks']}"
