# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes a tree a machine of the test network: its network, its keys, and for the infrastructure its service."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import socket
import ssl
import subprocess

from testnet_lib import machine, openbsd, probe, zones
from testnet_lib.machine import lock, run, wait_for
from testnet_lib.plan import HERE, PROXY_PORT, RUN, STATE, Host, Inventory, ipv4, ipv6

_KEYS = STATE / "dnssec"
_PUBLISHED = RUN / "zones.json"  # what the running name server has got from us


def _write(path: pathlib.Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as handle:
        handle.write(text)


# Keys and certificates: made once, kept in the state directory.

def prepare(inventory: Inventory) -> None:
    """Make the keys that all machines share, where they are missing."""
    with lock("state"):
        for name in ("ssh", "dnssec", "tls", "dkim"):
            (STATE / name).mkdir(parents=True, exist_ok=True)
        for name in ("id_ed25519", "host_ed25519"):
            if not (STATE / "ssh" / name).exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"test network {name}", "-f", STATE / "ssh" / name)
        _certificates()
        for domain in ("bigmail.test", "client.test"):
            if not (STATE / "dkim" / f"{domain}.key").exists():
                run("openssl", "genrsa", "-out", STATE / "dkim" / f"{domain}.new", "2048")
                (STATE / "dkim" / f"{domain}.new").rename(STATE / "dkim" / f"{domain}.key")
        secret = STATE / "internal.tsig"
        if not secret.exists():
            _write(secret, base64.b64encode(secrets.token_bytes(32)).decode() + "\n", 0o600)
        policy = STATE / "dnssec-policy.conf"
        _write(policy, zones.POLICY)
        for zone in _zones(inventory, {}):
            _zone_key(zone)
        digest = run("dnssec-dsfromkey", "-2", _zone_key("")).stdout.split(None, 3)[3].strip()
        _write(STATE / "root.ds", f". IN DS {digest}\n")
        key = run("grep", "-v", "^;", _zone_key("")).stdout.split("DNSKEY", 1)[1].strip()
        flags, protocol, algorithm, public = key.split(None, 3)
        public = public.replace(" ", "")
        _write(STATE / "root.key", f". IN DNSKEY {flags} {protocol} {algorithm} {public}\n")
        _write(STATE / "root.delv", f'trust-anchors {{ . static-key {flags} {protocol} {algorithm} "{public}"; }};\n')
        _write(STATE / "root.hints", f". 3600000 IN NS {zones.SERVER}.\n{zones.SERVER}. 3600000 IN A {ipv4(2)}\n"
                                     f"{zones.SERVER}. 3600000 IN AAAA {ipv6(2)}\n")


def _certificates() -> None:
    directory = STATE / "tls"
    root = STATE / "acme-listener-root.pem"
    if not root.exists():
        _openssl_key(directory / "root.key")
        run("openssl", "req", "-x509", "-key", directory / "root.key", "-out", root, "-days", "3650", "-subj", "/CN=Test network",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name in ("acme.test", "mx.bigmail.test", "smarthost.test"):
        if (directory / f"{name}.pem").exists():
            continue
        _openssl_key(directory / f"{name}.key")
        request = run("openssl", "req", "-new", "-key", directory / f"{name}.key", "-subj", f"/CN={name}").stdout
        _write(directory / "extensions", f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-CA", root, "-CAkey", directory / "root.key", "-days", "3000",
            "-set_serial", str(secrets.randbits(60)), "-extfile", directory / "extensions", "-out", directory / f"{name}.new", text=request)
        (directory / f"{name}.new").rename(directory / f"{name}.pem")


def _openssl_key(path: pathlib.Path) -> None:
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


def _dkim_text(domain: str) -> str:
    public = run("openssl", "rsa", "-in", STATE / "dkim" / f"{domain}.key", "-pubout").stdout
    return "v=DKIM1; k=rsa; p=" + "".join(line for line in public.splitlines() if "-" not in line)


def _tlsa() -> str:
    pem = run("openssl", "x509", "-in", STATE / "tls/mx.bigmail.test.pem", "-noout", "-pubkey").stdout
    der = base64.b64decode("".join(line for line in pem.splitlines() if "-" not in line))
    return f"3 1 1 {hashlib.sha256(der).hexdigest()}"


def _zone_key(zone: str) -> pathlib.Path:
    """Return the public half of a zone's key; its private half and its state lie beside it."""
    pattern = f"K{zone}.+*.key"
    found = sorted(_KEYS.glob(pattern))
    if not found:
        run("dnssec-keygen", "-q", "-k", "testnet", "-l", STATE / "dnssec-policy.conf", "-K", _KEYS, zone or ".")
        found = sorted(_KEYS.glob(pattern))
    return found[0]


def _delegation_signer(zone: str) -> str:
    return " ".join(run("dnssec-dsfromkey", "-2", _zone_key(zone)).stdout.split()[3:])


def _zones(inventory: Inventory, signers: dict[str, str]) -> zones.Zones:
    texts = {"testnet._domainkey.bigmail.test": _dkim_text("bigmail.test"), "testnet._domainkey.client.test": _dkim_text("client.test")}
    return zones.build(inventory, signers, texts, _tlsa())


def _wanted(inventory: Inventory) -> zones.Zones:
    return _zones(inventory, {zone: _delegation_signer(zone) for zone in _zones(inventory, {}) if zone})


# Machines

def dress(inventory: Inventory, host: Host) -> None:
    """Write into a machine's fresh tree what it needs before its first boot."""
    if host.suite == "openbsd":
        openbsd.dress(host)
        return
    etc = host.root / "etc"
    short = host.name if host.service else f"cloud-{host.number}"  # a provider's image does not know the mail name
    _write(etc / "hostname", short + "\n")
    # A service asks itself over its public address, too, and must then be who it is to others.
    own = f"{ipv4(host.number)} {short}\n{ipv6(host.number)} {short}" if host.service else f"127.0.1.1 {short}"
    _write(etc / "hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{own}\n")
    interface = "eth0" if host.guest else "host0"
    _write(etc / "network/interfaces", f"""auto lo {interface}
iface lo inet loopback

iface {interface} inet static
  address {ipv4(host.number)}/24
  gateway {ipv4(1)}

iface {interface} inet6 static
  address {ipv6(host.number)}/64
  gateway {ipv6(1)}
  accept_ra 0
  dad-attempts 0
""")
    _write(etc / "resolv.conf", f"nameserver {ipv4(2)}\nnameserver {ipv6(2)}\n")
    _write(etc / "apt/apt.conf.d/02proxy", f'Acquire::http::Proxy "http://{ipv4(1)}:{PROXY_PORT}";\n')
    # Its package lists are empty, however young the base tree is: apt modules take the directory's age for the lists'.
    os.utime(host.root / "var/lib/apt/lists", (0, 0))
    _write(host.root / "root/.ssh/authorized_keys", (STATE / "ssh/id_ed25519.pub").read_text(encoding="ascii"), 0o600)
    (host.root / "root/.ssh").chmod(0o700)
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        _write(etc / f"ssh/ssh_host_ed25519_key{suffix}", (STATE / f"ssh/host_ed25519{suffix}").read_text(encoding="ascii"), mode)
    if host.service:
        {"ns": _dress_ns, "acme": _dress_acme, "bigmail": _dress_bigmail, "smarthost": _dress_smarthost}[host.service](inventory, host)
        _watch(inventory, host)


def _enable(host: Host, *units: str) -> None:
    run("systemctl", f"--root={host.root}", "enable", *units)


def _watch(inventory: Inventory, host: Host) -> None:
    """Have the machine's service start again whenever it ends, and be watched."""
    units = probe.UNITS[str(host.service)]
    for unit in units:
        always = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\n"
        _write(host.root / f"etc/systemd/system/{unit}.service.d/always.conf", always)
    _write(host.root / "usr/local/sbin/testnet-watch", pathlib.Path(probe.__file__).read_text(encoding="utf-8"), 0o755)
    password = inventory.variables["testnet_smarthost"]["password"] if host.service == "smarthost" else _password(inventory)
    _copy_tree(host, {"SERVICE": str(host.service), "ADDRESS": ipv4(host.number), "PASSWORD": password}, "common")
    _enable(host, *units, "testnet-watch")


def _password(inventory: Inventory) -> str:
    return inventory.variables["testnet_bigmail"]["password"]


def _dress_ns(inventory: Inventory, host: Host) -> None:
    with lock("dns"):
        _write(host.root / "etc/resolv.conf", "nameserver 127.0.0.1\n")
        (host.root / "var/lib/bind/keys").mkdir()
        wanted = _wanted(inventory)
        _give_zones(host, inventory, wanted, list(wanted))


def _give_zones(host: Host, inventory: Inventory, wanted: zones.Zones, new: list[str]) -> None:
    """Write named's configuration for all zones, and the files of new ones."""
    library = host.root / "var/lib/bind"
    _write(host.root / "etc/bind/named.conf", zones.named_conf(inventory, wanted, _internal_secret()), 0o640)
    for zone in new:
        _write(library / zones.file_name(zone), zones.zone_file(zone, wanted[zone]))
        for path in _KEYS.glob(f"K{zone}.+*"):
            shutil.copy(path, library / "keys")
    owner = _user(host, "bind")
    for path in [library, *library.rglob("*"), host.root / "etc/bind/named.conf"]:
        os.chown(path, *owner)
    _write(_PUBLISHED, json.dumps(wanted))


def _internal_secret() -> str:
    return (STATE / "internal.tsig").read_text(encoding="ascii").strip()


def _dress_acme(_inventory: Inventory, host: Host) -> None:
    _copy_tree(host, {})
    for suffix, mode in ((".pem", 0o644), (".key", 0o644)):
        _write(host.root / f"etc/pebble/listener{suffix}", (STATE / f"tls/acme.test{suffix}").read_text(encoding="ascii"), mode)


def _dress_bigmail(inventory: Inventory, host: Host) -> None:
    etc = host.root / "etc"
    _copy_tree(host, {"PASSWORD": _password(inventory)})
    _write(etc / "resolv.conf", "nameserver 127.0.0.1\noptions edns0 trust-ad\n")
    for name in ("hints", "ds"):
        _write(etc / f"unbound/testnet.{name}", (STATE / f"root.{name}").read_text(encoding="ascii"))
    (etc / "unbound/unbound.conf.d/root-auto-trust-anchor-file.conf").unlink()
    key, certificate = ((STATE / f"tls/mx.bigmail.test{suffix}").read_text(encoding="ascii") for suffix in (".key", ".pem"))
    _write(etc / "postfix/tls.pem", key + certificate, 0o600)
    _write(etc / "dovecot/tls.key", key, 0o600)
    _write(etc / "dovecot/tls.crt", certificate)
    dkim = etc / "dkimkeys/bigmail.test.key"
    _write(dkim, (STATE / "dkim/bigmail.test.key").read_text(encoding="ascii"), 0o600)
    os.chown(dkim, *_user(host, "opendkim"))
    mail = host.root / "var/vmail"
    mail.mkdir()
    os.chown(mail, 5000, 5000)
    _write(etc / "mailname", "bigmail.test\n")


def _dress_smarthost(inventory: Inventory, host: Host) -> None:
    etc = host.root / "etc"
    _copy_tree(host, {"PASSWORD": inventory.variables["testnet_smarthost"]["password"]})
    key, certificate = ((STATE / f"tls/smarthost.test{suffix}").read_text(encoding="ascii") for suffix in (".key", ".pem"))
    _write(etc / "postfix/tls.pem", key + certificate, 0o600)
    _write(etc / "dovecot/tls.key", key, 0o600)
    _write(etc / "dovecot/tls.crt", certificate)
    _write(etc / "mailname", "smarthost.test\n")


def _user(host: Host, name: str) -> tuple[int, int]:
    """Return a user's numbers in that machine's tree."""
    entry = next(line for line in (host.root / "etc/passwd").read_text(encoding="utf-8").splitlines() if line.startswith(name + ":"))
    user, group = entry.split(":")[2:4]
    return int(user), int(group)


def _copy_tree(host: Host, values: dict[str, str], name: str = "") -> None:
    """Copy a service's files over the tree; @NAME@ becomes the value of that name."""
    top = HERE / "services" / (name or str(host.service))
    for source in sorted(top.rglob("*")):
        if source.is_file():
            text = source.read_text(encoding="utf-8")
            for name, value in values.items():
                text = text.replace(f"@{name}@", value)
            _write(host.root / source.relative_to(top), text, source.stat().st_mode & 0o777)


# Readiness

def wait_service(host: Host) -> None:
    """Wait until a machine's service answers by its own protocol."""
    if host.service == "ns":
        wait_for("the name server's signed zones (journalctl -u named on ns.test)", _signed, 300, 0.1)
    elif host.service == "acme":
        wait_for("the ACME server", lambda: fetch("acme.test", host, 14000, "/dir"), 300, 0.1)
        root = wait_for("the ACME server's root", lambda: fetch("acme.test", host, 15000, "/roots/0"), 120, 0.1)
        _write(STATE / "acme-root.pem", root)
    elif host.service == "bigmail":
        for address in (ipv4(host.number), ipv6(host.number)):
            wait_for("the strict receiver's SMTP", lambda a=address: machine.banner(a, 25, b"220 "), 300, 0.1)
            wait_for("the strict receiver's IMAP", lambda a=address: machine.banner(a, 143, b"* OK"), 300, 0.1)
        # Its resolver may have asked before the name server answered, and remembers that for a while.
        wait_for("the strict receiver's resolver", lambda: _client_name(host) == "good.client.test.", 300, 0.5)
    elif host.service == "smarthost":
        for address in (ipv4(host.number), ipv6(host.number)):
            wait_for("the smarthost", lambda a=address: machine.banner(a, 587, b"220 "), 300, 0.1)


def _client_name(host: Host) -> str:
    """Return the name of the test network's client as a machine's own resolver knows it; empty if it does not."""
    with contextlib.suppress(SystemExit, subprocess.TimeoutExpired):
        return on(host, "dig", "+short", "-x", ipv4(5), timeout=20).strip()
    return ""


def _signed() -> bool:
    names = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    questions = [word for zone in names for word in (f"{zone}.", "SOA")]
    options = ("+noall", "+answer", "+dnssec", "+norecurse", "+time=1", "+tries=1")
    answer = run("dig", f"@{ipv4(2)}", *options, *questions, inside=True, check=False)
    return sum(line.split()[3:5] == ["RRSIG", "SOA"] for line in answer.stdout.splitlines()) == len(names)


def fetch(name: str, host: Host, port: int, path: str) -> str:
    """Return what an HTTPS server inside answers; its certificate must be for its name."""
    context = ssl.create_default_context(cafile=str(STATE / "acme-listener-root.pem"))
    with contextlib.suppress(OSError):
        with machine.inside_network():
            plain = socket.create_connection((ipv4(host.number), port), 2)
        with plain, context.wrap_socket(plain, server_hostname=name) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            head, _empty, body = answer.partition("\r\n\r\n")
            if " 200 " in head.splitlines()[0]:
                return body
    return ""


# Health

def silent(inventory: Inventory, host: Host) -> str:
    """Return why a machine's service does not answer as a client sees it; empty if it does."""
    if not machine.running(host):
        return "its machine does not run"
    address = ipv4(host.number)
    questions = {
        "ns": lambda: probe.ns(address),
        "acme": lambda: probe.acme(address),
        "bigmail": lambda: probe.bigmail(address, _password(inventory), ipv4(5), "good.client.test"),
        "smarthost": lambda: probe.smarthost(address, inventory.variables["testnet_smarthost"]["password"]),
    }
    with machine.inside_network():
        return probe.answers(questions[str(host.service)])


def restarted(host: Host, since: float) -> list[str]:
    """Return those of a machine's units that have started after this time of the monotonic clock, or are not running."""
    units = probe.UNITS[str(host.service)]
    # One line per unit; the machines and this one have the same clock.
    told = on(host, "systemctl", "show", "--value", "--property=ActiveState,ActiveEnterTimestampMonotonic", *units, timeout=60)
    facts = [block.split() for block in told.strip().split("\n\n")]
    return [unit for unit, (state, began) in zip(units, map(reversed, map(sorted, facts))) if state != "active" or int(began) > since * 1e6]


def restart_units(host: Host) -> bool:
    """Restart a machine's service; tell whether its system did so and the service is ready."""
    with contextlib.suppress(SystemExit, subprocess.TimeoutExpired):
        on(host, "systemctl", "restart", *probe.UNITS[str(host.service)], timeout=180)
        wait_service(host)
        return True
    return False


# Zones of a running name server

def _nsupdate(zone: str, lines: list[str]) -> None:
    # More than a few dozen changes do not fit one message.
    for start in range(0, len(lines), 60):
        text = "\n".join([f"server {ipv4(2)}", f"key hmac-sha256:internal.tsig.test {_internal_secret()}", f"zone {zone}.",
                          *lines[start:start + 60], "send", ""])
        run("nsupdate", text=text, inside=True)


def publish(inventory: Inventory) -> None:
    """Bring the running name server to what the inventory says now; what users have published stays."""
    host = next(host for host in inventory.services if host.service == "ns")
    if not machine.running(host) or not _PUBLISHED.exists():
        return
    with lock("dns"):
        wanted = _wanted(inventory)
        had = {zone: [tuple(record) for record in records] for zone, records in json.loads(_PUBLISHED.read_text(encoding="utf-8")).items()}
        if wanted == had:
            return
        new = [zone for zone in wanted if zone not in had]
        _give_zones(host, inventory, wanted, new)
        on(host, "rndc", "reconfig")
        for zone in wanted:
            if zone in had:
                _nsupdate(zone, zones.update(had[zone], wanted[zone]))
        wait_for("the new zones", _signed, 300, 0.1)


def on(host: Host, *words: str, text: str | None = None, timeout: float | None = None) -> str:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ControlPath=none")
    return run("ssh", "-i", STATE / "ssh/id_ed25519", *(f"-o{option}" for option in options), f"root@{ipv4(host.number)}", *words,
               text=text, inside=True, timeout=timeout).stdout


def register(inventory: Inventory, host: Host, fresh: bool) -> None:
    """See that the name server knows a host under test; a fresh one finds its zone as if nothing had ever been published."""
    publish(inventory)
    server = next(host for host in inventory.services if host.service == "ns")
    others = [other for other in inventory.hosts.values() if other.zone == host.zone and other is not host and machine.running(other)]
    if not fresh or others or not machine.running(server):
        return
    with lock("dns"):
        kept = set(_wanted(inventory)[host.zone])
        owners = {(owner, kind) for owner, kind, _rdata in kept}
        lines = []
        for line in run("dig", f"@{ipv4(2)}", "-y", f"hmac-sha256:internal.tsig.test:{_internal_secret()}", "+noall", "+answer", "+onesoa",
                        "AXFR", host.zone + ".", inside=True).stdout.splitlines():
            owner, _ttl, _class, kind, _rdata = line.split(None, 4)
            automatic = kind in ("SOA", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "TYPE65534", "TSIG")
            if not automatic and (owner.rstrip("."), kind) not in owners:
                lines.append(f"update delete {owner} {kind}")
        _nsupdate(host.zone, list(dict.fromkeys(lines)) + zones.update([], sorted(kept)))
