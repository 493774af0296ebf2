# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme-client(1): OpenBSD's acme-client.conf(5), its refusals and exit codes; the exchange itself is certbot's library's."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import subprocess
import sys
import time

from simulated.common import HERE, Refusal, at, getopt, need_root, release
from simulated.lexer import Parser, load

_CONFIG = "/etc/acme-client.conf"
_USAGE = "usage: acme-client [-Fnrv] [-f configfile] handle"


@dataclasses.dataclass
class Authority:
    """An `authority` block."""

    name: str
    api: str = ""
    account: str = ""
    account_type: str = "rsa"
    contact: str = ""
    insecure: bool = False


@dataclasses.dataclass
class Domain:
    """A `domain` block."""

    handle: str
    name: str = ""
    alternatives: list[str] = dataclasses.field(default_factory=list)
    key: str = ""
    key_type: str = "rsa"
    certificate: str = ""
    chain: str = ""
    full_chain: str = ""
    authority: str = ""
    challenge: str = "/var/www/acme"
    profile: str = ""


class _Grammar(Parser):
    SIGNS = "{}"

    def __init__(self, text: str, path: str, version: str) -> None:
        super().__init__(text, path)
        self.version = tuple(int(part) for part in version.split("."))
        self.authorities: dict[str, Authority] = {}
        self.domains: dict[str, Domain] = {}

    def parse(self) -> None:
        self.newlines()
        while self.token.kind != "end":
            if self.word("authority"):
                self.authority()
            elif self.word("domain"):
                self.domain()
            elif self.word("include"):
                raise self.error("include: not simulated")
            else:
                raise self.error()
            self.end_of_line()

    def block(self, statement, target) -> None:
        self.newlines()
        self.need_sign("{")
        self.newlines()
        while not self.sign("}"):
            statement(target)
            if self.token.kind == "sign" and self.token.text == "}":
                continue
            self.end_of_line()

    def once(self, target, field: str, value, what: str) -> None:
        if getattr(target, field):
            raise self.error(f"duplicate {what}")
        setattr(target, field, value)

    def kind(self) -> str:
        return self.need("rsa", "ecdsa") if self.token.kind == "word" and self.token.text in ("rsa", "ecdsa") else "rsa"

    def authority(self) -> None:
        name = self.string()
        if name in self.authorities:
            raise self.error("authority already defined")
        found = Authority(name)
        self.block(self.authority_statement, found)
        if not found.api or not found.account:
            raise Refusal(f"authority {name}: {'api url' if not found.api else 'account key'} missing")
        if not found.api.startswith("https://") and not (self.version >= (7, 8) and found.insecure and found.api.startswith("http://")):
            raise Refusal(f"acme-client: authority {name}: api url must use https")
        self.authorities[name] = found

    def authority_statement(self, found: Authority) -> None:
        if self.word("api"):
            self.need("url")
            self.once(found, "api", self.string(), "api url")
        elif self.word("account"):
            self.need("key")
            path = self.string()
            self.once(found, "account", path, "account key")
            found.account_type = self.kind()
        elif self.word("contact"):
            self.once(found, "contact", self.string(), "contact")
        elif self.version >= (7, 8) and self.word("insecure"):
            found.insecure = True
        else:
            raise self.error()

    def domain(self) -> None:
        handle = self.string()
        if handle in self.domains:
            raise self.error("domain already defined")
        found = Domain(handle)
        self.block(self.domain_statement, found)
        found.name = found.name or handle
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", found.name):
            raise Refusal(f"{self.token.path}: domain {handle}: bad domain name")
        if not found.key:
            raise Refusal(f"{handle}: no domain key file specified")
        if not (found.certificate or found.full_chain):
            raise Refusal(f"{handle}: at least certificate file or full chain must be specified")
        self.domains[handle] = found

    def path(self) -> str:
        token = self.token
        path = self.string()
        if not path.startswith("/"):
            raise Refusal(f"{token.path}:{token.line}: not an absolute path")
        return path

    def domain_statement(self, found: Domain) -> None:
        if self.word("alternative"):
            self.need("names")
            self.need_sign("{")
            self.newlines()
            while not self.sign("}"):
                found.alternatives.append(self.string().rstrip(","))
                self.newlines()
        elif self.word("domain"):
            what = self.need("name", "key", "certificate", "chain", "full")
            if what == "name":
                self.once(found, "name", self.string(), "domain name")
            elif what == "key":
                self.once(found, "key", self.path(), "domain key")
                found.key_type = self.kind()
            elif what == "certificate":
                self.once(found, "certificate", self.path(), "domain certificate")
            elif what == "chain":
                self.need("certificate")
                self.once(found, "chain", self.path(), "domain chain certificate")
            else:
                self.need("chain")
                self.need("certificate")
                self.once(found, "full_chain", self.path(), "domain full chain certificate")
        elif self.word("sign"):
            self.need("with")
            name = self.string()
            if name not in self.authorities:
                raise self.error("sign with: unknown authority")
            self.once(found, "authority", name, "sign with")
        elif self.word("challengedir"):
            found.challenge = self.path()
        elif self.version >= (7, 8) and self.word("profile"):
            self.once(found, "profile", self.string(), "profile")
        else:
            raise self.error()


def parse(text: str, path: str, version: str) -> tuple[dict[str, Authority], dict[str, Domain]]:
    """Return what a file says, or refuse with its line."""
    grammar = _Grammar(text, path, version)
    grammar.parse()
    return grammar.authorities, grammar.domains


def acme_client(argv: list[str]) -> int:
    """Get or renew a certificate: exit 0 if it did, 2 if nothing was to do, 1 if it failed."""
    options, names = getopt(argv, "Fnrvf:", _USAGE)
    path = options.get("f", [_CONFIG])[-1]
    try:
        text = load(path)
    except Refusal as exc:
        raise Refusal(f"acme-client: {exc}") from None
    authorities, domains = parse(text, path, release())
    if len(names) != 1:
        raise Refusal(_USAGE)
    domain = domains.get(names[0])
    if not domain:
        raise Refusal(f"acme-client: domain {names[0]} not found")
    authority = authorities.get(domain.authority) or next(iter(authorities.values()), None)
    if not authority:
        raise Refusal("acme-client: no authorities configured")
    if "n" in options:
        # As the real one: what was read, and whether the exchange could begin.
        print(text, end="")
        return 0
    need_root("acme-client: must be run as root")
    if "r" in options:
        raise Refusal("acme-client: revocation: not simulated")
    for directory in {os.path.dirname(name) for name in (domain.key, domain.certificate, domain.chain, domain.full_chain, authority.account)
                      if name} | {domain.challenge}:
        if not at(directory).is_dir():
            what = "challenge directory" if directory == domain.challenge else "directory"
            raise Refusal(f"acme-client: {directory}: {what} must exist")
    if not certificate_due(domain, "F" in options, "v" in options):
        return 2
    sys.path.append(str(HERE / "python-packages"))
    exchange(authority, domain, "v" in options)
    return 0


def certificate_due(domain: Domain, force: bool, verbose: bool = False, now: float | None = None) -> bool:
    """Tell whether a certificate has to be got (revokeproc.c 1.26): there is none, it has other names, or less than a third (if it is
    for ten days or less: half) of its life is left, and in any case when less than three days are."""
    path = at(domain.certificate or domain.full_chain)
    if not path.exists():
        return True

    def ask(*words: str) -> str:
        return subprocess.run(["openssl", "x509", "-noout", "-in", str(path), *words], capture_output=True, text=True, check=False).stdout

    dates = dict(re.findall(r"not(Before|After)=(.*)", ask("-dates")))
    if not dates:
        raise Refusal("acme-client: PEM_read_X509")
    begin, end = (datetime.datetime.strptime(dates[key], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=datetime.timezone.utc).timestamp()
                  for key in ("Before", "After"))
    # Names alone: an address is not looked at, neither here nor there.
    there = re.findall(r"DNS:([^,\s]+)", ask("-ext", "subjectAltName"))
    changed = sorted(there) != sorted({domain.name, *domain.alternatives})
    lifetime = end - begin
    left = end - (now or time.time())
    due = left < max(lifetime / (3 if lifetime > 10 * 86400 else 2), 3 * 86400)
    if verbose:
        print(f"acme-client: {path}: certificate {'renewable' if due else 'valid'}: {int(left / 86400)} days left", file=sys.stderr)
    if not due and (force or changed):
        print(f"acme-client: {path}: {'domain list changed, ' if changed else ''}forcing renewal", file=sys.stderr)
    return due or force or changed


def _key(path: str, kind: str, make) -> bytes:
    """Return a private key in PEM, made if there is none, readable by root alone."""
    target = at(path)
    if not target.exists():
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with open(handle, "wb") as file:
            file.write(make(kind))
    return target.read_bytes()


def exchange(authority: Authority, domain: Domain, verbose: bool) -> None:
    """Do the ACME exchange with HTTP-01, and write the files."""
    import json
    import logging

    import josepy
    from acme import challenges, client, crypto_util, errors, messages
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, stream=sys.stderr, format="acme-client: %(message)s")

    def make(kind: str) -> bytes:
        key = rsa.generate_private_key(65537, 4096) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL if kind == "rsa"
                                 else serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    loaded = serialization.load_pem_private_key(_key(authority.account, authority.account_type, make), None)
    if isinstance(loaded, rsa.RSAPrivateKey):
        jwk, algorithm = josepy.JWKRSA(key=loaded), josepy.RS256
    else:
        jwk = josepy.JWKEC(key=loaded)
        algorithm = {256: josepy.ES256, 384: josepy.ES384, 521: josepy.ES512}[loaded.curve.key_size]
    request = crypto_util.make_csr(_key(domain.key, domain.key_type, make), list(dict.fromkeys([domain.name, *domain.alternatives])))
    written = []
    try:
        # The one root store that libtls knows.
        network = client.ClientNetwork(jwk, alg=algorithm, user_agent="acme-client (simulated)", verify_ssl=True)
        network.session.verify = str(at("/etc/ssl/cert.pem"))
        if verbose:
            print(f"acme-client: {authority.api}: directories", file=sys.stderr)
        acme = client.ClientV2(client.ClientV2.get_directory(authority.api, network), network)
        new = messages.NewRegistration(contact=(authority.contact,) if authority.contact else (), terms_of_service_agreed=True)
        try:
            acme.new_account(new)
        except errors.ConflictError as exc:
            network.account = messages.RegistrationResource(uri=exc.location, body=messages.Registration())
        order = acme.new_order(request)
        for authorisation in order.authorizations:
            if authorisation.body.status == messages.STATUS_VALID:
                continue
            challenge = next((entry for entry in authorisation.body.challenges if isinstance(entry.chall, challenges.HTTP01)), None)
            if challenge is None:
                raise Refusal("acme-client: no http-01 challenge was offered")
            response, validation = challenge.response_and_validation(jwk)
            path = at(f"{domain.challenge}/{challenge.chall.encode('token')}")
            path.write_text(validation, encoding="ascii")
            path.chmod(0o444)
            written.append(path)
            acme.answer_challenge(challenge, response)
        done = acme.poll_and_finalize(order, datetime.datetime.now() + datetime.timedelta(seconds=90))
    except errors.ValidationError as exc:
        texts = [f"{entry.body.identifier.value}: {challenge.error.detail}" for entry in exc.failed_authzrs
                 for challenge in entry.body.challenges if challenge.error]
        raise Refusal("acme-client: challenge failed: " + "; ".join(texts)) from None
    except (errors.Error, messages.Error, OSError, ValueError, json.JSONDecodeError) as exc:
        raise Refusal(f"acme-client: {authority.api}: {exc}") from None
    finally:
        for path in written:
            path.unlink(missing_ok=True)
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", done.fullchain_pem, re.DOTALL)
    for path, text in ((domain.certificate, blocks[0]), (domain.chain, "".join(blocks[1:])), (domain.full_chain, "".join(blocks))):
        if path:
            temporary = at(f"{path}.{os.getpid()}")
            temporary.write_text(text, encoding="ascii")
            temporary.chmod(0o444)
            temporary.rename(at(path))
            print(f"acme-client: {path}: created", file=sys.stderr)
