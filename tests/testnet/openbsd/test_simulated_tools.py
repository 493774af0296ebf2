# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulated tools refuse what OpenBSD's tools refuse. No host is booted: each works on a directory that is given as the root."""

from __future__ import annotations

import io
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest
from simulated import acme_client, common, httpd, mailwrapper, packages, postfix, rc, releases, system, tools, users

HERE = pathlib.Path(__file__).resolve().parent
Call = Callable[..., tuple[int, str, str]]
Certificate = Callable[..., tuple[acme_client.Domain, float]]
BCRYPT = "$2b$10$abcdefghijklmnopqrstuuQ3Jh1jXv9oR7m8bqFh0kK9e6Xo8yQ9G"


@pytest.fixture
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A fresh installation, without the real programs."""
    shutil.copytree(HERE / "etc", tmp_path / "etc")
    shutil.copytree(HERE / "rc.d", tmp_path / "etc/rc.d")
    for path in (tmp_path / "etc/rc.d").iterdir():
        path.chmod(0o444 if path.name == "rc.subr" else 0o555)
    for name in ("dkimproxy_in", "dkimproxy_out", "dovecot", "postfix", "redis", "rspamd"):
        (tmp_path / "etc/rc.d" / name).unlink()
    monkeypatch.setattr(common, "ROOT", tmp_path)
    store = tmp_path / "simulation"
    (store / "python-packages/cryptography").mkdir(parents=True)
    (store / "python3").write_text("", encoding="ascii")
    for name in ("files", "rc.d"):
        (store / name).symlink_to(HERE / name)
    monkeypatch.setattr(packages, "HERE", store)
    monkeypatch.setattr(packages, "STORE", store / "store")
    release(tmp_path, "7.9")
    return tmp_path


def release(root: pathlib.Path, number: str) -> None:
    path = root / "var/db/simulation/host.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"release": "{number}"}}', encoding="ascii")


@pytest.fixture
def call(root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a simulated tool as its users do: name, words -> exit code, stdout, stderr."""
    def run(line: str, *words: str) -> tuple[int, str, str]:
        name, *rest = [*line.split(), *words]
        rooms = {"htt": httpd, "rou": system, "unb": tools, "pkg": packages, "rcc": rc, "pos": postfix, "mai": mailwrapper,
                 "mak": mailwrapper, "sen": mailwrapper}
        module = rooms.get(name[:3], users)
        code = common.call(name, getattr(module, name.replace("-", "_")), rest)
        output = capsys.readouterr()
        return code, output.out, output.err
    return run


@pytest.fixture
def certificate(root: pathlib.Path) -> Certificate:
    """Make a certificate for names -> the domain mail.example.org that has it, and when it ends."""
    def make(names: str, days: int) -> tuple[acme_client.Domain, float]:
        path = root / "etc/acme/mail.pem"
        path.parent.mkdir()
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mail",
                 "-keyout", "/dev/null", "-out", str(path), "-days", str(days)]
        if names:
            words += ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names.split(","))]
        subprocess.run(words, check=True, capture_output=True)
        return acme_client.Domain("mail.example.org", "mail.example.org", full_chain="/etc/acme/mail.pem"), time.time() + days * 86400
    return make


# pkg_add, pkg_info, pkg_delete

@pytest.mark.parametrize(("number", "spec", "complaint"), [
    ("7.9", "python", "Ambiguous: python could be python-2.7.18p11 python-3.13.13"),
    ("7.9", "rspamd", "Ambiguous: rspamd could be rspamd-3.14.3 rspamd-3.14.3-hyperscan"),
    ("8.0", "redis", "Ambiguous: redis could be redis-6.2.22 redis-8.8.1"),
    ("7.9", "postfix--", "Ambiguous: postfix-- could be postfix-3.11.1p0 postfix-3.12.20260410v1 postfix-3.5.25p9v0"),
    ("7.9", "valkey", "Can't find valkey"),
    ("7.9", "redis%bsd", "Can't find redis%bsd"),
    ("7.9", "dovecot-2.4", "Can't find dovecot-2.4"),
    ("7.9", "python3", "Can't find python3"),
])
def test_pkg_add_refuses(root: pathlib.Path, call: Call, number: str, spec: str, complaint: str) -> None:
    release(root, number)
    code, _out, err = call("pkg_add -Im", spec)
    assert err == complaint + "\n"
    # Of an ambiguous name, only stderr tells.
    assert code == (0 if complaint.startswith("Ambiguous") else 1)
    assert packages.installed() == []


@pytest.mark.parametrize(("number", "spec", "name"), [
    ("7.9", "python%3", "python-3.13.13"), ("7.8", "python%3", "python-3.12.12"), ("8.0", "python%3", "python-3.14.7"),
    ("7.9", "redis", "redis-6.2.22"), ("8.0", "redis%bsd", "redis-6.2.22"), ("7.9", "rspamd--", "rspamd-3.14.3"),
    ("7.9", "rspamd--hyperscan", "rspamd-3.14.3-hyperscan"), ("7.9", "postfix--sasl2%stable", "postfix-3.11.1p0-sasl2"),
    ("7.9", "dovecot-2.3.21.1p3v0", "dovecot-2.3.21.1p3v0"), ("7.9", "dovecot", "dovecot-2.3.21.1p3v0")])
def test_pkg_add_takes(root: pathlib.Path, call: Call, number: str, spec: str, name: str) -> None:
    release(root, number)
    code, out, err = call("pkg_add -Im", spec)
    assert (code, err) == (0, "")
    assert f"\n{name}: ok\n" in out
    assert call(f"pkg_info -Iq inst:{spec}") == (0, name + "\n", "")
    assert call(f"pkg_info -e {spec}") == (0, f"inst:{name}\n", "")
    # A second time it has nothing to say of it.
    assert name not in call("pkg_add -Im", spec)[1]


def test_a_dry_run_installs_nothing(call: Call) -> None:
    assert "redis-6.2.22: ok" in call("pkg_add -Imn redis")[1]
    assert call("pkg_info -Iq inst:redis") == (1, "", "Can't find inst:redis\n")
    assert call("pkg_info -e redis")[0] == 1


def test_packages_bring_their_users_scripts_and_dependencies(root: pathlib.Path, call: Call) -> None:
    out = call("pkg_add -I rspamd-- dovecot opensmtpd-filter-dkimsign")[1]
    assert "rspamd-3.14.3:redis-6.2.22: ok" in out
    numbers = {entry.name: (entry.uid, entry.gid, entry.login_class) for entry in users.load_users()}
    assert [numbers[name] for name in ("_redis", "_rspamd", "_dovecot", "_dkimsign")] == [
        (686, 686, "daemon"), (756, 756, "daemon"), (518, 518, "daemon"), (843, 843, "daemon")]
    assert {"redis", "rspamd", "dovecot"} <= {path.name for path in (root / "etc/rc.d").iterdir()}
    assert (root / "etc/rspamd/local.d/redis.conf").read_text(encoding="ascii") == 'servers = "127.0.0.1";\n'
    assert (root / "etc/login.conf.d/rspamd").exists()
    assert oct((root / "etc/mail/dkim").stat().st_mode & 0o7777) == "0o770"
    assert call("pkg_info -m")[1].split()[0] != "redis-6.2.22"


def test_pkg_delete(root: pathlib.Path, call: Call) -> None:
    call("pkg_add -I rspamd-- redis")
    assert call("pkg_delete redis") == (1, "", "can't delete redis-6.2.22 without deleting rspamd-3.14.3\n")
    assert call("pkg_delete nothing") == (1, "", "Problem finding nothing\n")
    (root / "etc/rspamd/local.d/redis.conf").write_text("mine", encoding="ascii")
    assert call("pkg_delete -I rspamd")[:2] == (0, "rspamd-3.14.3: ok\n")
    assert (root / "etc/rspamd/local.d/redis.conf").read_text(encoding="ascii") == "mine"
    assert not (root / "etc/rc.d/rspamd").exists()
    assert "_rspamd" in {entry.name for entry in users.load_users()}


@pytest.mark.parametrize("line", ["_postfix:*:507:507:daemon:0:0:Somebody:/var/empty:/sbin/nologin",
                                  "_postfix:*:507:507::0:0:Postfix Daemon:/var/empty:/sbin/nologin",
                                  "_postfix:*:1000:507:daemon:0:0:Postfix Daemon:/var/empty:/sbin/nologin"])
def test_a_package_refuses_an_account_that_is_not_its_own(root: pathlib.Path, call: Call, line: str) -> None:
    with (root / "etc/master.passwd").open("a", encoding="ascii") as handle:
        handle.write(line + "\n")
    assert call("pkg_add -I postfix--%stable")[::2] == (1, "user _postfix does not match\n")
    assert packages.installed() == []


def test_a_package_keeps_an_account_that_is_as_it_would_make_it(root: pathlib.Path, call: Call) -> None:
    call("groupadd -g 507 _postfix")
    call("useradd -u 507 -g _postfix -d /var/empty -s /sbin/nologin -L daemon -c", "Postfix Daemon", "_postfix")
    assert call("pkg_add -I postfix--%stable")[::2] == (0, "")
    assert [entry.name for entry in users.load_users()].count("_postfix") == 1
    call("pkg_delete -I postfix")
    (root / "etc/group").write_text((root / "etc/group").read_text(encoding="ascii").replace("_postdrop:*:508:", "_postdrop:*:1001:"))
    assert call("pkg_add -I postfix--%stable")[2] == "group _postdrop does not match\n"


def test_python_is_there_only_after_pkg_add_and_modules_are_packages_too(root: pathlib.Path, call: Call) -> None:
    assert not (root / "usr/local/bin/python3").exists()
    call("pkg_add -I py3-cryptography")
    assert (root / "usr/local/bin/python3").readlink() == pathlib.Path("python3.13")
    assert (root / "usr/local/lib/python3.13/site-packages/cryptography").is_symlink()


def test_pkg_add_says_no_to_what_it_does_not_know(call: Call) -> None:
    assert call("pkg_add -y redis")[2].startswith("pkg_add: unknown option -- y\n")
    assert call("pkg_add --noconfirm redis")[0] == 1


def test_every_release_has_what_a_mail_server_needs() -> None:
    for number in ("7.8", "7.9", "8.0"):
        available = releases.packages(number)
        for spec in ("python%3", "rspamd--", "dovecot", "dovecot-pigeonhole", "opensmtpd-filter-rspamd", "opensmtpd-filter-senderscore",
                     "postfix--%stable"):
            assert packages.resolve(spec, available)
        for package in available:
            assert package.content in ("", *releases.CONTENT)
            assert all(packages.resolve(spec, available) for spec in package.depends)


# Postfix, and what mailer.conf decides

def test_postfix_as_it_is_installed(root: pathlib.Path, call: Call) -> None:
    call("pkg_add -I postfix--%stable")
    assert {"_postdrop:*:508:"} <= set((root / "etc/group").read_text(encoding="ascii").splitlines())
    assert "_postdrop" not in {entry.name for entry in users.load_users()}
    assert "mail_owner = _postfix\n" in (root / "etc/postfix/main.cf").read_text(encoding="ascii")
    assert oct((root / "var/postfix").stat().st_mode & 0o7777) == "0o700"
    assert (root / "var/spool/postfix/etc").is_dir()
    # Neither is it enabled, nor does anybody's sendmail change.
    assert call("rcctl get postfix status")[0] == 1
    assert "smtpctl" in (root / "etc/mailer.conf").read_text(encoding="ascii")
    assert call("pkg_add -I postfix--%snapshot")[2] == (
        "Can't install postfix-3.12.20260410v1 because of conflicts (postfix-3.11.1p0)\n")


def test_postfix_enable_and_disable(root: pathlib.Path, call: Call) -> None:
    before = (root / "etc/mailer.conf").read_text(encoding="ascii")
    assert call("postfix-enable") == (0, "can't find /etc/mailer.conf.postfix, postfix not enabled\n", "")
    call("pkg_add -I postfix--%stable")
    assert call("postfix-disable") == (1, "can't find /etc/mailer.conf.pre-postfix, postfix not disabled\n", "")
    assert call("postfix-enable")[0] == 0
    assert (root / "etc/mailer.conf.pre-postfix").read_text(encoding="ascii") == before
    assert "mailq\t/usr/local/sbin/sendmail\n" in (root / "etc/mailer.conf").read_text(encoding="ascii")
    assert not (root / "etc/mailer.conf.postfix").exists()
    # A second time it does nothing, and says so with the same status.
    assert call("postfix-enable")[:2] == (0, "can't find /etc/mailer.conf.postfix, postfix not enabled\n")
    assert call("postfix-disable") == (0, "postfix mailer.conf disabled, old mailer.conf enabled\n", "")
    assert (root / "etc/mailer.conf").read_text(encoding="ascii") == before
    call("postfix-enable")
    assert call("pkg_delete -I postfix")[0] == 0
    assert (root / "etc/mailer.conf").read_text(encoding="ascii") == before
    assert not list((root / "etc").glob("mailer.conf.*"))


@pytest.mark.parametrize(("text", "line", "code", "complaint"), [
    (None, "sendmail -bp", 78, "sendmail: cannot open /etc/mailer.conf: No such file or directory\n"),
    ("mailq /usr/sbin/smtpctl\n", "sendmail -bp", 78, "sendmail: no mapping in /etc/mailer.conf\n"),
    ("# sendmail /usr/sbin/smtpctl\n", "sendmail", 78, "sendmail: no mapping in /etc/mailer.conf\n"),
    ("# one\nsendmail\n", "sendmail", 78, "sendmail: cannot parse /etc/mailer.conf at line 2\n"),
    ("sendmail /nowhere/sendmail\n", "sendmail", 69, "sendmail: cannot execute /nowhere/sendmail: No such file or directory\n"),
    ("sendmail /nowhere/sendmail\n", "makemap", 78, "makemap: no mapping in /etc/mailer.conf\n"),
])
def test_mailwrapper_refuses(root: pathlib.Path, call: Call, text: str | None, line: str, code: int, complaint: str) -> None:
    (root / "etc/mailer.conf").unlink()
    if text is not None:
        (root / "etc/mailer.conf").write_text(text, encoding="ascii")
    assert call(line) == (code, "", complaint)


def test_mailwrapper_becomes_what_mailer_conf_says(root: pathlib.Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "etc/mailer.conf").write_text("sendmail\t/usr/sbin/smtpctl -x # a comment\n", encoding="ascii")
    became: list = []
    monkeypatch.setattr(mailwrapper.os, "execv", lambda path, argv: became.append((path, argv)))
    call("sendmail -t")
    assert became == [("/usr/sbin/smtpctl", ["sendmail", "-x", "-t"])]


# dkimproxy

def test_dkimproxy_as_it_is_installed(root: pathlib.Path, call: Call) -> None:
    conf = root / "etc/dkimproxy_out.conf"
    out = call("pkg_add -I dkimproxy")[1]
    assert "\ndkimproxy-1.4.1p4:p5-Mail-DKIM-1.20240619: ok\ndkimproxy-1.4.1p4: ok\n" in out
    numbers = {entry.name: (entry.uid, entry.gid, entry.login_class) for entry in users.load_users()}
    assert numbers["_dkimproxy"] == (721, 721, "daemon")
    for way in ("in", "out"):
        assert (root / f"usr/local/bin/dkimproxy.{way}").is_symlink()
        assert (root / f"etc/dkimproxy_{way}.conf").exists()
        # Neither is enabled.
        assert call(f"rcctl get dkimproxy_{way} status")[0] == 1
    # What somebody has written stays, also when it comes again.
    conf.write_text("mine", encoding="ascii")
    call("pkg_delete -I dkimproxy")
    assert not (root / "etc/rc.d/dkimproxy_out").exists() and not (root / "etc/dkimproxy_in.conf").exists()
    call("pkg_add -I dkimproxy")
    assert conf.read_text(encoding="ascii") == "mine"


@pytest.mark.parametrize(("words", "complaint"), [
    ("--nonsense", "Unknown option: nonsense"),
    ("--conf_file=/nowhere", 'Couldn\'t open conf "/nowhere" [No such file or directory]'),
    ("127.0.0.1:10027", "Error: wrong number of arguments"),
    ("", "Error: listening port was not specified"),
    ("--listen=127.0.0.1", "Error: listening port was not specified"),
    ("--listen=127.0.0.1:10027", "Error: relay host was not specified"),
    ("1:1 2:2", "Error: no keyfile specified"),
    ("1:1 2:2 --keyfile=/nowhere", "Error: cannot read keyfile /nowhere"),
    ("1:1 2:2 --keyfile=KEY", "Error: domain not specified"),
    ("1:1 2:2 --keyfile=KEY --domain=a.test", "Error: selector not specified"),
    ("1:1 2:2 --keyfile=KEY --domain=a.test --selector=s --method=nofws", "Error: invalid method nofws"),
    ("1:1 2:2 --keyfile=KEY --domain=a.test --selector=s --signature=dkim(c=relaxed,key=/nowhere)", "Error: cannot read keyfile /nowhere"),
    ("1:1 2:2 --keyfile=KEY --domain=a.test --selector=s --signature=domainkeys(c=relaxed)", "Error: invalid method relaxed"),
    ("1:1 2:2 --keyfile=KEY --domain=a.test --selector=s --signature=arc", "Error: invalid signature type arc"),
    ("1:1 2:2 --keyfile=KEY --domain=a.test --selector=s --signature=dkim(", "invalid signature specifier: 'dkim('"),
    ("--conf_file=CONF", "Error: cannot read keyfile /full/path/to/private.key"),  # as it is installed
    ("--conf_file=CONF --keyfile=KEY", "Error: invalid method nothing"),  # the command line wins, and then the file
])
def test_dkimproxy_refuses(tmp_path: pathlib.Path, words: str, complaint: str) -> None:
    (tmp_path / "key").write_text("", encoding="ascii")
    conf = (HERE / "files/etc/dkimproxy_out.conf").read_text(encoding="ascii")
    (tmp_path / "conf").write_text(conf + "signature = dkim(c=nothing)\nunknown 1\n" if "KEY" in words else conf, encoding="ascii")
    argv = words.replace("KEY", f"{tmp_path}/key").replace("CONF", f"{tmp_path}/conf").split()
    done = subprocess.run(["perl", HERE / "files/usr/local/bin/dkimproxy.out", *argv], capture_output=True, text=True, check=False)
    assert (done.returncode != 0, done.stdout, done.stderr.splitlines()[0]) == (True, "", complaint)


# user(8)

@pytest.mark.parametrize(("line", "complaint"), [
    ("useradd --system x", "useradd: unknown option -- -"),
    ("useradd -K UMASK=077 x", "useradd: unknown option -- K"),
    ("useradd -r x", "usage: useradd -D"),
    ("useradd root", "useradd: already a `root' user"),
    ("useradd -u 67 x", "useradd: uid 67 is already in use"),
    ("useradd -u many x", "useradd: When using [-u uid], the uid must be numeric"),
    ("useradd -g nothing x", "useradd: group nothing not found"),
    ("useradd -G wheel,nothing x", "useradd: group nothing not found"),
    ("useradd -L nothing x", "useradd: No such login class: nothing"),
    ("useradd www", "useradd: already a `www' user"),
    ("useradd staff", "useradd: already a `staff' group"),
    ("useradd bad:name", "useradd: `bad:name' is not a valid login name"),
    ("useradd -m -d /etc x", "useradd: home directory `/etc' already exists"),
    ("usermod -a -G wheel www", "usermod: unknown option -- a"),
    ("usermod -c x nobody2", "usermod: No such user `nobody2'"),
    ("usermod www", "usage: usermod"),
    ("userdel nobody2", "userdel: No such user `nobody2'"),
    ("groupadd wheel", "groupadd: group `wheel' already exists"),
    ("groupadd -r x", "groupadd: unknown option -- r"),
    ("groupadd -g 0 x", "groupadd: gid 0 is already in use"),
    ("groupdel nothing", "groupdel: no such group: `nothing'"),
    ("user modify x", "usage: user add"),
])
def test_user_tools_refuse(root: pathlib.Path, call: Call, line: str, complaint: str) -> None:
    before = (root / "etc/master.passwd").read_text(encoding="ascii"), (root / "etc/group").read_text(encoding="ascii")
    code, _out, err = call(line)
    assert code == 1
    assert err.startswith(complaint)
    assert before == ((root / "etc/master.passwd").read_text(encoding="ascii"), (root / "etc/group").read_text(encoding="ascii"))


def test_useradd_with_all_its_options(root: pathlib.Path, call: Call) -> None:
    (root / "var").mkdir(exist_ok=True)
    call("groupadd -g 2000 vmail")
    code, _out, err = call("useradd -u 2000 -g vmail -d /var/vmail -s /sbin/nologin -L daemon vmail")
    assert (code, err) == (0, "useradd: Warning: home directory `/var/vmail' doesn't exist, and -m was not specified\n")
    assert call("useradd -m -G wheel,staff -c", "An Admin", "-p", BCRYPT, "admin") == (0, "", "")
    assert (root / "etc/master.passwd").read_text(encoding="ascii").splitlines()[-2:] == [
        "vmail:*************:2000:2000:daemon:0:0::/var/vmail:/sbin/nologin",
        f"admin:{BCRYPT}:1000:1000::0:0:An Admin:/home/admin:/bin/ksh"]
    assert "wheel:*:0:root,admin\n" in (root / "etc/group").read_text(encoding="ascii")
    assert (root / "home/admin").stat().st_uid == 1000
    assert call("usermod -S wheel admin")[0] == 0
    assert "staff:*:20:root\n" in (root / "etc/group").read_text(encoding="ascii")
    assert call("usermod -Z admin")[0] == 0
    assert f"admin:*{BCRYPT}:" in (root / "etc/master.passwd").read_text(encoding="ascii")
    assert call("usermod -U admin")[0] == 0
    assert f"admin:{BCRYPT}:" in (root / "etc/shadow").read_text(encoding="ascii")
    assert call("userdel -r admin")[0] == 0
    assert not (root / "home/admin").exists()


@pytest.mark.parametrize("password", ["$6$salt$hash", "$2y" + BCRYPT[3:], "$y$j9T$abc$def", "plain"])
def test_only_bcrypt_opens_a_door(root: pathlib.Path, call: Call, password: str) -> None:
    _code, _out, err = call("useradd -p", password, "someone")
    assert err.startswith(f"useradd: Password `{password}' is invalid: setting it to `*************'")
    assert "someone:*:" in (root / "etc/shadow").read_text(encoding="ascii")


# rcctl

@pytest.mark.parametrize(("line", "code", "complaint"), [
    ("rcctl check nothing", 2, "rcctl: service nothing does not exist\n"),
    ("rcctl enable redis", 2, "rcctl: service redis does not exist\n"),
    ("rcctl get postfix status", 2, "rcctl: service postfix does not exist\n"),
    ("rcctl set smtpd class daemon", 1, 'rcctl: "class" is a read-only variable set in login.conf(5)\n'),
    ("rcctl set httpd flags -v", 1, 'rcctl: "httpd" is not enabled\n'),
    ("rcctl set smtpd user nobody2", 1, 'rcctl: user "nobody2" does not exist\n'),
    ("rcctl start pf", 1, 'rcctl: "pf" is a special variable, no rc.d(8) script\n'),
    ("rcctl status smtpd", 1, "usage: rcctl get"),
    ("rcctl set smtpd status yes", 1, "usage: rcctl get"),
    ("rcctl order redis", 2, "rcctl: service redis does not exist\n"),
])
def test_rcctl_refuses(call: Call, line: str, code: int, complaint: str) -> None:
    found, _out, err = call(line)
    assert (found, err.startswith(complaint)) == (code, True)


def test_rcctl_enables_and_disables(root: pathlib.Path, call: Call) -> None:
    local = root / "etc/rc.conf.local"
    assert call("rcctl get httpd status")[0] == 1
    assert call("rcctl get smtpd status")[0] == 0
    call("rcctl enable httpd")
    call("rcctl set smtpd status off")
    assert local.read_text(encoding="ascii") == "httpd_flags=\nsmtpd_flags=NO\n"
    call("rcctl disable httpd")
    call("rcctl enable smtpd")
    assert not local.exists()
    call("pkg_add -I rspamd-- dovecot")
    for name in ("dovecot", "rspamd", "redis"):
        assert call(f"rcctl set {name} status on") == (0, "", "")
    assert local.read_text(encoding="ascii") == "pkg_scripts=dovecot rspamd redis\n"
    assert call("rcctl order redis rspamd dovecot")[0] == 0
    assert call("rcctl order")[1] == "redis rspamd dovecot\n"
    # What is gone can be switched off.
    call("pkg_delete -I dovecot")
    assert call("rcctl disable dovecot")[0] == 0
    assert local.read_text(encoding="ascii") == "pkg_scripts=redis rspamd\n"
    assert call("rcctl ls off")[1].split() == ["accounting", "httpd", "ipsec", "multicast", "spamd_black", "unbound", "unwind"]


def test_the_login_class_is_named_as_the_script(root: pathlib.Path) -> None:
    assert rc.daemon_class("smtpd") == "daemon"
    assert rc.capability("smtpd", "openfiles-cur") == ""
    (root / "etc/login.conf.d").mkdir(exist_ok=True)
    (root / "etc/login.conf.d/smtpd").write_text("smtpd:\\\n\t:openfiles-cur=4096:\\\n\t:tc=daemon:\n", encoding="ascii")
    assert rc.daemon_class("smtpd") == "smtpd"
    assert [rc.capability("smtpd", key) for key in ("openfiles-cur", "openfiles-max", "umask")] == ["4096", "1024", "022"]


# acme-client

@pytest.mark.parametrize(("days", "left", "due"), [
    (90, 31, False), (90, 29, True),  # a third
    (10, 6, False), (10, 4, True),  # half, of those that live for ten days or less
    (4, 3.5, False), (4, 2.9, True), (2, 2, True)])  # two runs a day apart must have a chance
def test_a_certificate_is_renewed_in_time(
        certificate: Certificate, capsys: pytest.CaptureFixture[str], days: int, left: float, due: bool) -> None:
    domain, end = certificate("mail.example.org", days=days)
    now = end - left * 86400
    assert acme_client.certificate_due(domain, False, now=now) is due
    assert capsys.readouterr().err == ""
    # By force always, and it says so where it would not have done it.
    assert acme_client.certificate_due(domain, True, now=now)
    assert capsys.readouterr().err == ("" if due else "acme-client: " + str(common.at(domain.full_chain)) + ": forcing renewal\n")


@pytest.mark.parametrize(("names", "alternatives", "changed"), [
    ("mail.example.org", [], False), ("b.example.org,mail.example.org,a.example.org", ["a.example.org", "b.example.org"], False),
    ("mail.example.org", ["a.example.org"], True), ("mail.example.org,a.example.org", [], True),
    ("mail.example.org,mail.example.org", [], True), ("", [], True)])
def test_other_names_are_a_reason_to_renew(
        certificate: Certificate, capsys: pytest.CaptureFixture[str], names: str, alternatives: list[str], changed: bool) -> None:
    domain, _end = certificate(names, days=90)
    domain.alternatives = alternatives
    assert acme_client.certificate_due(domain, False, verbose=True) is changed
    path = common.at(domain.full_chain)
    assert capsys.readouterr().err == f"acme-client: {path}: certificate valid: 89 days left\n" + (
        f"acme-client: {path}: domain list changed, forcing renewal\n" if changed else "")


def test_what_is_no_certificate_is_refused(certificate: Certificate) -> None:
    domain, _end = certificate("mail.example.org", days=90)
    common.at(domain.full_chain).write_text("", encoding="ascii")
    with pytest.raises(common.Refusal, match="PEM_read_X509"):
        acme_client.certificate_due(domain, False)


# What a true host refuses or overwrites

def test_httpd_reads_its_file_twice(call: Call, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'server "a.test" {\n\tlisten on * port 80\n}\n'
    (tmp_path / "httpd.conf").write_text(text, encoding="ascii")
    assert call("httpd -n -f /httpd.conf")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert call("httpd -n -f /dev/stdin") == (1, "", "no actions, nothing to do\n")


def test_unbound_looks_for_its_trust_anchor_in_the_chroot(root: pathlib.Path, call: Call) -> None:
    conf = root / "unbound.conf"
    conf.write_text('server:\n\tauto-trust-anchor-file: "/var/unbound/db/root.key"\n', encoding="ascii")
    missing = 'auto-trust-anchor-file: "/var/unbound/db/root.key" does not exist in chrootdir /var/unbound'
    assert missing in call("unbound-checkconf /unbound.conf")[2]
    # No directory, no anchor.
    assert call("unbound-anchor -a /var/unbound/db/root.key")[0] == 1
    (root / "var/unbound/db").mkdir(parents=True)
    (root / "var/unbound/db/root.key").touch()
    assert missing in call("unbound-checkconf /unbound.conf")[2]
    (root / "var/db/simulation/root.ds").write_text(". IN DS 1 13 2 AB\n", encoding="ascii")
    assert [call("unbound-anchor -a /var/unbound/db/root.key")[0] for _ in range(2)] == [1, 0]
    assert (root / "var/unbound/db/root.key").read_text(encoding="ascii") == ". IN DS 1 13 2 AB\n"


@pytest.mark.parametrize(("gateway", "address"), [("fe80::1", "fe80::2%vio0"), ("2001:db8::1", "2001:db8::2")])
def test_behind_a_link_local_gateway_the_default_address_is_link_local(
        call: Call, monkeypatch: pytest.MonkeyPatch, gateway: str, address: str) -> None:
    addresses = [{"family": "inet6", "local": "2001:db8::2", "scope": "global"}, {"family": "inet6", "local": "fe80::2", "scope": "link"}]
    monkeypatch.setattr(system, "_ip", lambda *words: [{"addr_info": addresses}] if "address" in words else [
        {"dst": "default", "gateway": gateway, "dev": "vio0"}])
    assert f" if address: {address}\n" in call("route -n get -inet6 default")[1]
