# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of any live server from outside, whatever software it runs. The docstrings are their descriptions."""

from __future__ import annotations

import contextlib
import imaplib
import re
import secrets
import socket
import ssl
from collections.abc import Iterable

from ansible_collections.postmaster.mail.plugins.module_utils._checks.imap import PlainImap
from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckFailed, CheckRegistry, CheckSkipped
from ansible_collections.postmaster.mail.plugins.module_utils._checks.session import GTUBE, Server
from ansible_collections.postmaster.mail.plugins.module_utils._constants import ROLE_NAMES
from ansible_collections.postmaster.mail.plugins.module_utils._io.bounded import Lines
from ansible_collections.postmaster.mail.plugins.module_utils._names import reverse_name

registry = CheckRegistry()

#: Port to how TLS begins on it.
TLS_PORTS = {25: "smtp", 587: "smtp", 465: "", 143: "imap", 993: "", 4190: "sieve"}


def refused(code: int, reply: str, what: str) -> str:
    """Return the refusal as evidence, or raise where there was none."""
    if not 500 <= code <= 599:
        raise CheckFailed(f"{what} was answered with {code} {reply}")
    return f"{code} {reply}"


def accepted(code: int, reply: str, what: str) -> str:
    if code != 250:
        raise CheckFailed(f"{what} was answered with {code} {reply}")
    return f"{code} {reply}"


def before_tls(server: Server, address: str, port: int) -> socket.socket:
    """Connect to any of the ports and return the socket, on which the next to be said is TLS."""
    plain = socket.create_connection((address, port), timeout=server.timeout)
    kind = TLS_PORTS[port]
    try:
        if kind:
            lines = Lines(plain, 3 * server.timeout)

            def say(line: str, end: str) -> None:
                if line:
                    plain.sendall(line.encode() + b"\r\n")
                lines.begin()
                while True:
                    got = lines.line().decode("utf-8", "replace")
                    if not got:
                        raise CheckFailed(f"port {port} of {address} closed the connection before TLS")
                    if re.match(end, got):
                        return
                    if re.match(r"([45]\d\d |NO|a (NO|BAD))", got):
                        raise CheckFailed(f"port {port} of {address} does not begin TLS: {got.strip()}")

            say("", {"smtp": "220 ", "imap": r"\* OK", "sieve": "OK"}[kind])
            if kind == "smtp":
                say(f"EHLO {server.helo or '[127.0.0.1]'}", "250 ")
            say("a STARTTLS" if kind == "imap" else "STARTTLS", {"smtp": "220 ", "imap": "a OK", "sieve": "OK"}[kind])
        return plain
    except BaseException:
        plain.close()
        raise


def open_tls(server: Server, address: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Begin TLS on any of the ports and return the socket."""
    plain = before_tls(server, address, port)
    try:
        return context.wrap_socket(plain, server_hostname=server.fqdn)
    except BaseException:
        plain.close()
        raise


def sieve_capabilities(server: Server, connection: socket.socket, when: str) -> str:
    """Return what ManageSieve says it can do, up to its OK (RFC 5804 section 1.7).

    :raises CheckFailed: the connection ended before that
    """
    lines, said, got = Lines(connection, 3 * server.timeout), b"", b""
    while not got.startswith(b"OK"):
        got = lines.line()
        if not got:
            raise CheckFailed(f"port 4190 closed the connection {when}, before it said OK")
        said += got
    return said.decode("utf-8", "replace")


@registry.check("reverse-dns")
def reverse_dns(server: Server) -> str:
    """Every address has one PTR record, which names this server, and the name leads back to the address."""
    import dns.resolver

    resolver = server.resolver()
    for family, address in server.every_address():
        try:
            found = [str(record.target).rstrip(".").lower() for record in resolver.resolve(reverse_name(address), "PTR", search=False)]
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            found = []
        if found != [server.fqdn]:
            alone = family == "ipv6" and bool(server.addresses.get("ipv4"))
            meanwhile = "; a server of this collection sends by IPv4 alone until it has been run after this is mended" if alone else ""
            raise CheckFailed(f"{address} has the PTR records {found}, not {server.fqdn}{meanwhile}")
    for family, kind in (("ipv4", "A"), ("ipv6", "AAAA")):
        if server.addresses.get(family):
            found = sorted(record.address for record in resolver.resolve(server.fqdn, kind, search=False))
            if found != sorted(server.addresses[family]):
                raise CheckFailed(f"{server.fqdn} has the {kind} records {found}, not {server.addresses[family]}")
    return ", ".join(address for _family, address in server.every_address())


@registry.check("greeting")
def greeting(server: Server) -> str:
    """On every address the banner and the EHLO answer give the name that reverse DNS gives."""
    for _family, address in server.every_address():
        with server.smtp(address=address) as session:
            # Neither need have a word.
            name = (session.banner[1].split() or [""])[0]
            answer = ((session._smtp.ehlo_resp or b"").decode("utf-8", "replace").split() or [""])[0]
            if (name, answer) != (server.fqdn, server.fqdn):
                raise CheckFailed(f"{address} greets as {name} and answers EHLO as {answer}, not as {server.fqdn}")
    return f"220 {server.fqdn}"


@registry.check("mx")
def mx(server: Server) -> str:
    """An MX record of every domain leads to this server."""
    for domain in server.domains:
        found = [str(record.exchange).rstrip(".").lower() for record in server.resolver().resolve(domain, "MX", search=False)]
        if server.fqdn not in found:
            raise CheckFailed(f"the MX records of {domain} are {found}, without {server.fqdn}")
    return ", ".join(server.domains)


@registry.check("spf")
def spf(server: Server) -> str:
    """Every domain has exactly one SPF record, and it lets every address of this server send."""
    try:
        import spf as pyspf
    except ImportError as exc:
        raise CheckSkipped("needs the Python package pyspf on the controller") from exc
    for domain in (*server.domains, *server.elsewhere):
        records = [text for text in server.texts(domain) if re.match(r"(?i)v=spf1( |\Z)", text)]
        if len(records) != 1:
            raise CheckFailed(f"{domain} has {len(records)} SPF records: {records}")
        for _family, address in server.every_address():
            result, words = pyspf.check2(address, f"postmaster@{domain}", server.fqdn)
            if result != "pass":
                raise CheckFailed(f"SPF of {domain} for {address}: {result} ({words})")
    return records[0]


@registry.check("dmarc")
def dmarc(server: Server) -> str:
    """Every domain has exactly one DMARC record, which begins with its version and its policy (RFC 9989)."""
    for domain in (*server.domains, *server.elsewhere):
        records = [text for text in server.texts(f"_dmarc.{domain}") if text.startswith("v=DMARC1")]
        if len(records) != 1:
            raise CheckFailed(f"_dmarc.{domain} has {len(records)} DMARC records: {records}")
        if not re.match(r"v=DMARC1 *; *p=(none|quarantine|reject)\b", records[0]):
            raise CheckFailed(f"_dmarc.{domain}: {records[0]}")
    return records[0]


@registry.check("parked")
def parked(server: Server) -> str:
    """A domain that neither sends nor takes mail says so: null MX (RFC 7505), an SPF record that allows nobody, and a DMARC policy of
    reject."""
    if not server.parked:
        raise CheckSkipped("no domain is parked")
    resolver = server.resolver()
    for domain in server.parked:
        hosts = [(record.preference, str(record.exchange)) for record in resolver.resolve(domain, "MX", search=False)]
        if hosts != [(0, ".")]:
            raise CheckFailed(f"{domain} has the MX records {hosts}, not the null MX")
        for name, begin, wanted in ((domain, "v=spf1", "v=spf1 -all"), (f"_dmarc.{domain}", "v=DMARC1", "v=DMARC1; p=reject")):
            found = [text for text in server.texts(name) if text.startswith(begin)]
            if found != [wanted]:
                raise CheckFailed(f"{name} has {found}, not {wanted}")
    return ", ".join(server.parked)


@registry.check("certificates")
def certificates(server: Server) -> str:
    """On every TLS port and address the certificate chains to a trusted root and names this server."""
    serials = {}
    for _family, address in server.every_address():
        for port in TLS_PORTS:
            try:
                with open_tls(server, address, port, server.tls()) as tls:
                    serials[address, port] = tls.getpeercert()["serialNumber"]
            except (ssl.SSLError, OSError) as exc:
                raise CheckFailed(f"port {port} of {address}: {exc}") from exc
    if len(set(serials.values())) != 1:
        raise CheckFailed(f"the ports serve different certificates: {serials}")
    return f"serial {next(iter(serials.values()))} on {', '.join(map(str, TLS_PORTS))} of every address"


@registry.check("old-tls")
def old_tls(server: Server) -> str:
    """No port speaks TLS 1.0 or 1.1 (RFC 8996)."""
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with contextlib.suppress(ssl.SSLError):
            context.set_ciphers("ALL:@SECLEVEL=0")
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        for port in TLS_PORTS:
            try:
                open_tls(server, server.address(), port, context).close()
            except (ssl.SSLError, ConnectionError):
                continue
            raise CheckFailed(f"port {port} speaks {version.name}")
    return "refused on " + ", ".join(map(str, TLS_PORTS))


def tls12(ciphers: Iterable[str]) -> ssl.SSLContext:
    """Return a context that offers TLS 1.2 with these ciphers, the first one first, whatever they are worth; the certificate is not looked
    at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(":".join([*ciphers, "@SECLEVEL=0"]))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def insufficient(cipher: str) -> bool:
    """Tell whether NCSC's guidelines for TLS (2025, appendix B) call a cipher of TLS 1.2 insufficient: such as one without authentication,
    encryption or forward secrecy, or with SHA-1."""
    return not re.fullmatch(r"(EC)?DHE-\S*(GCM-SHA256|GCM-SHA384|CHACHA20-POLY1305|CCM|-SHA256|-SHA384)", cipher)


@registry.check("weak-ciphers")
def weak_ciphers(server: Server) -> str:
    """No port takes a cipher that is anonymous, does not encrypt, has no forward secrecy or is otherwise insufficient (NCSC's guidelines
    for TLS, as Internet.nl tests them), and of two that are sufficient the server chooses."""
    everything = [cipher["name"] for cipher in tls12(["ALL", "COMPLEMENTOFALL"]).get_ciphers() if not cipher["name"].startswith("TLS_")]
    wrong = tls12(filter(insufficient, everything))
    preferred = [cipher["name"] for cipher in tls12(["ECDHE+AESGCM"]).get_ciphers() if not cipher["name"].startswith("TLS_")]
    chosen = {}
    for _family, address in server.every_address():
        for port in TLS_PORTS:
            with contextlib.suppress(ssl.SSLError, ConnectionError), open_tls(server, address, port, wrong) as tls:
                raise CheckFailed(f"port {port} of {address} takes {tls.cipher()[0]}")
            for offered in (preferred, preferred[::-1]):
                with open_tls(server, address, port, tls12(offered)) as tls:
                    chosen.setdefault(port, set()).add(tls.cipher()[0])
    if following := {port: sorted(found) for port, found in chosen.items() if len(found) > 1}:
        raise CheckFailed(f"the client's order decides: {following}")
    taken = ", ".join(sorted(set.union(*chosen.values())))
    return f"{len(everything)} ciphers offered on {', '.join(map(str, TLS_PORTS))}; chosen: {taken}"


@registry.check("no-auth-on-25")
def no_auth_on_25(server: Server) -> str:
    """Port 25 offers no authentication, neither before nor after STARTTLS."""
    for tls in ("", "starttls"):
        with server.smtp(25, tls) as session:
            if "auth" in session.features:
                raise CheckFailed(f"port 25 offers AUTH {session.features['auth']} {'after' if tls else 'before'} STARTTLS")
            code, reply = session.authenticate("x@" + server.domains[0], "x")
            refused(code, reply, "AUTH on port 25")
    return f"AUTH: {code} {reply}"


@registry.check("no-auth-in-the-clear")
def no_auth_in_the_clear(server: Server) -> str:
    """No password is taken before TLS: not on 587, not on 143, not on 4190."""
    with server.smtp(587) as session:
        if "auth" in session.features:
            raise CheckFailed("port 587 offers AUTH before STARTTLS")
        evidence = refused(*session.authenticate("x@" + server.domains[0], "x"), "AUTH on port 587 before STARTTLS")
        refused(*session.mail(""), "MAIL on port 587 before STARTTLS")
    session = PlainImap(server.address(), 143, timeout=server.timeout)
    try:
        if "LOGINDISABLED" not in session.capabilities:
            raise CheckFailed(f"port 143 does not say LOGINDISABLED before TLS: {session.capabilities}")
        with contextlib.suppress(imaplib.IMAP4.error):
            session.login("x@" + server.domains[0], "x")
            raise CheckFailed("port 143 took a login before TLS")
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            session.logout()
    with socket.create_connection((server.address(), 4190), timeout=server.timeout) as plain:
        found = re.search(r'"SASL" "([^"]*)"', sieve_capabilities(server, plain, "at its start"))
        if found and found[1]:
            raise CheckFailed(f"port 4190 offers SASL {found[1]} before TLS")
    return evidence


@registry.check("wrong-password")
def wrong_password(server: Server) -> str:
    """A wrong password is refused, by submission and by IMAP; the answer does not tell whether there is such a user, and the right
    password still works from there."""
    user, _password = server.account()
    unknown = f"nobody-{secrets.token_hex(4)}@{user.partition('@')[2]}"
    answers = {"submission": set(), "IMAP": set()}
    for name in (user, unknown):
        with server.smtp(587, "starttls") as session:
            code, reply = session.authenticate(name, secrets.token_hex(8))
            if code != 535:
                raise CheckFailed(f"a wrong password was answered with {code} {reply}")
            answers["submission"].add(reply)
        try:
            with server.imap((name, secrets.token_hex(8))):
                raise CheckFailed("IMAP took a wrong password")
        except imaplib.IMAP4.error as exc:
            answers["IMAP"].add(str(exc))
    for service, found in answers.items():
        if len(found) != 1:
            raise CheckFailed(f"{service} answers a wrong password and an unknown user differently: {sorted(found)}")
    # Others behind the same address are not locked out by it.
    with server.smtp(587, "starttls") as session:
        session.login(*server.account())
    return f"{code} {reply}; {answers['IMAP'].pop()}"


@registry.check("submission")
def submission(server: Server) -> str:
    """Users log in on 587 after STARTTLS and on 465, over every address."""
    user, password = server.account()
    for _family, address in server.every_address():
        for port, tls in ((587, "starttls"), (465, "wrapped")):
            with server.smtp(port, tls, address) as session:
                session.login(user, password)
    return f"{user} on 587 and 465"


def foreign_recipients(server: Server) -> list[str]:
    """Return every way of writing a recipient elsewhere that some server once relayed to."""
    local, _at, foreign = server.foreign.partition("@")
    here, name = server.domains[0], server.fqdn
    return [
        server.foreign,
        f"{local}%{foreign}@{here}",
        f"{local}%{foreign}@{name}",
        f"{local}%{foreign}",
        f"{foreign}!{local}",
        f"{foreign}!{local}@{here}",
        f'"{server.foreign}"',
        f'"{server.foreign}"@{here}',
        f'"{local}%{foreign}"@{here}',
        f"@{here}:{server.foreign}",
        f"@{name},@{here}:{server.foreign}",
        f"{server.foreign}@{here}",
        f"{local}@{foreign}.",
        f"{local}%{foreign}@[{server.address()}]",
    ]


@registry.check("no-open-relay")
def no_open_relay(server: Server) -> str:
    """Nobody relays through port 25 of any address: every way of writing a foreign recipient is refused, whatever the sender."""
    here, name, recipients = server.domains[0], server.fqdn, foreign_recipients(server)
    count = 0
    first, *others = [address for _family, address in server.every_address()]
    ways = [(first, sender) for sender in ("", server.foreign, f"postmaster@{here}", f"x@{name}")]
    for address, sender in [*ways, *((address, server.foreign) for address in others)]:
        with server.smtp(address=address) as session:
            # Who is refused for another reason proves nothing.
            accepted(*session.envelope(sender, f"postmaster@{here}"), f"from <{sender}> to postmaster@{here}")
            for number, recipient in enumerate(recipients):
                code, reply = session.envelope(sender, recipient)
                refused(code, reply, f"from <{sender}> to <{recipient}>")
                count += 1
                if number % 4 == 3:  # a careful server hangs up after some errors
                    session.close()
                    session.__init__(server, address, 25, "")
    return f"{count} attempts refused, the last with {code} {reply}"


@registry.check("unknown-recipient")
def unknown_recipient(server: Server) -> str:
    """An unknown recipient is refused at RCPT in every domain that has no catch-all, never bounced later."""
    domains = [domain for domain in server.domains if domain not in server.catch_all]
    if not domains:
        raise CheckSkipped("every domain has a catch-all")
    for domain in domains:
        with server.smtp() as session:
            code, reply = session.envelope(server.foreign, f"nobody-{secrets.token_hex(4)}@{domain}")
            if code != 550:
                raise CheckFailed(f"an unknown recipient in {domain} was answered with {code} {reply}")
    return f"{code} {reply}"


@registry.check("role-addresses")
def role_addresses(server: Server) -> str:
    """postmaster, abuse and the other role addresses of every domain are accepted, in any case of letters, and so is bare postmaster
    (RFC 5321 section 4.5.1, RFC 2142)."""
    with server.smtp() as session:
        for domain in server.domains:
            for role in ("PostMaster", *ROLE_NAMES):
                accepted(*session.envelope(server.foreign, f"{role}@{domain}"), f"{role}@{domain}")
        return accepted(*session.envelope(server.foreign, "postmaster"), "bare postmaster")


@registry.check("null-sender")
def null_sender(server: Server) -> str:
    """Mail from the null sender, as bounces are, is accepted for those who exist."""
    with server.smtp() as session:
        return accepted(*session.envelope("", f"postmaster@{server.domains[0]}"), "a bounce to postmaster")


@registry.check("plus-address")
def plus_address(server: Server) -> str:
    """Mail to a user with a detail, as in user+detail, is accepted for the user."""
    address = server.detailed(server.account()[0], "promise")
    with server.smtp() as session:
        return accepted(*session.envelope(server.foreign, address), address)


@registry.check("no-vrfy")
def no_vrfy(server: Server) -> str:
    """VRFY and EXPN tell nobody who exists."""
    with server.smtp() as session:
        for verb in ("VRFY", "EXPN"):
            code, reply = session.command(f"{verb} postmaster@{server.domains[0]}")
            if code != 252:  # "cannot say", the other answer that RFC 5321 section 7.3 allows
                refused(code, reply, verb)
    return f"{code} {reply}"


@registry.check("size-limit")
def size_limit(server: Server) -> str:
    """A message over the announced limit is refused with 552 at once, before it is sent."""
    with server.smtp() as session:
        limit = int(session.features.get("size") or 0)
        if limit < 20_000_000:
            raise CheckFailed(f"the server announces SIZE {limit}, less than 20 MB")
        code, reply = session.mail(server.foreign, f"SIZE={limit + 1}")
        if code != 552:
            raise CheckFailed(f"a message over {limit} octets was answered with {code} {reply}")
    return f"SIZE {limit}: {code} {reply}"


@registry.check("gtube")
def gtube(server: Server) -> str:
    """The generic spam sample (GTUBE) is refused while the sender is still there, not bounced and not filed."""
    recipient = server.account()[0]
    message = server.message(server.foreign, recipient, GTUBE + "\n")
    with server.smtp() as session:
        accepted(*session.envelope(server.foreign, recipient), f"{recipient}")
        return refused(*session.send(server.foreign, [recipient], message.as_bytes()), "GTUBE")


@registry.check("envelope-sender")
def envelope_sender(server: Server) -> str:
    """A user cannot send from another's address in the envelope, however it is written."""
    user, password = server.account()
    other = f"postmaster-of-others@{server.domains[0]}" if len(server.accounts) < 2 else server.account(1)[0]
    for port, tls in ((587, "starttls"), (465, "wrapped")):
        with server.smtp(port, tls) as session:
            session.login(user, password)
            for sender in (user, user.upper(), server.detailed(user)):
                accepted(*session.envelope(sender, user), f"{user} sending as {sender}")
        for sender in (other, other.upper(), server.detailed(other), f"@{server.fqdn}:{other}", f"{user}:{other}", server.foreign,
                       f"@{user.partition('@')[2]}", user.partition("@")[0]):
            with server.smtp(port, tls) as session:
                session.login(user, password)
                evidence = refused(*session.envelope(sender, user), f"{user} sending as {sender}")
    return evidence


@registry.check("header-sender")
def header_sender(server: Server) -> str:
    """A user cannot send from another's address in the From header, not even behind one of the user's own."""
    user, password = server.account()
    other, _password = server.account(1)
    with server.smtp(587, "starttls") as session:
        session.login(user, password)
        for claimed in (f"{user}, {other}", f"{server.detailed(user)}, {other}", other):
            message = server.message(user, user, From=claimed)
            evidence = refused(*session.send(user, [user], message.as_bytes()), f"{user} sending with From: {claimed}")
    return evidence


@registry.check("read-receipt")
def read_receipt(server: Server) -> str:
    """A user's read receipt, which has the null sender (RFC 8098 section 3), is taken and keeps that, but none with another's address in
    From."""
    user, password = server.account()
    other, _password = server.account(1)
    receipt, forged = server.message(user, user), server.message(user, user, From=other)
    with server.smtp(587, "starttls") as session:
        session.login(user, password)
        accepted(*session.send("", [user], receipt.as_bytes()), f"a read receipt of {user}")
        evidence = refused(*session.send("", [user], forged.as_bytes()), f"a read receipt of {user} with From: {other}")
    returns_to = server.find(receipt["Message-ID"])["Return-Path"]
    if str(returns_to).strip() != "<>":
        raise CheckFailed(f"the read receipt came from {returns_to}")
    return evidence


@registry.check("own-alias")
def own_alias(server: Server) -> str:
    """A user may send from the further addresses that the inventory allows, in envelope and header."""
    user, password = server.account()
    if not server.senders.get(user):
        raise CheckSkipped(f"{user} has no further sender address")
    for granted in server.senders[user]:
        # @domain is any address there.
        sender = f"any-{secrets.token_hex(4)}{granted}" if granted.startswith("@") else granted
        message = server.message(sender, user)
        with server.smtp(587, "starttls") as session:
            session.login(user, password)
            evidence = accepted(*session.send(sender, [user], message.as_bytes()), f"{user} sending as {sender}")
        server.find(message["Message-ID"])
    return f"{', '.join(server.senders[user])}: {evidence}"


@registry.check("signature")
def signature(server: Server) -> str:
    """What a user sends carries a DKIM signature of the user's domain that verifies with dkimpy against the published record."""
    try:
        import dkim
    except ImportError as exc:
        raise CheckSkipped("needs the Python package dkimpy on the controller") from exc
    user = server.account()[0]
    message = server.message(user, user)
    server.submit(message)
    received = server.find(message["Message-ID"])
    tags = dict(re.findall(r"([a-z]+)=([^;]*)", received.get("DKIM-Signature", "").replace("\n", "")))
    if tags.get("d", "").strip() != user.partition("@")[2]:
        raise CheckFailed(f"the signature is by {tags.get('d', 'nobody')!r}, not by the domain of {user}")
    with server.imap() as session:
        session.select("INBOX")
        _status, found = session.uid("search", "HEADER", "Message-ID", f'"{message["Message-ID"]}"')
        _status, data = session.uid("fetch", found[0].split()[-1].decode(), "(BODY.PEEK[])")

    def lookup(name, timeout=5):
        texts = server.texts(name.decode().rstrip("."))
        return texts[0].encode() if texts else b""

    if not dkim.verify(data[0][1], dnsfunc=lookup, minkey=2048):
        raise CheckFailed("dkimpy does not verify the signature")
    return f"d={tags['d'].strip()} s={tags['s'].strip()} {tags['a'].strip()}"


@registry.check("private-submitter")
def private_submitter(server: Server) -> str:
    """What a user sends does not tell the address of the user's device."""
    user = server.account()[0]
    message = server.message(user, user)
    with server.smtp(587, "starttls") as session:
        own = session._smtp.sock.getsockname()[0]
        session.login(*server.account())
        session.send(user, [user], message.as_bytes())
    received = server.find(message["Message-ID"])
    revealing = [name for name, value in received.items() if own in value or f" {session.helo} " in value]
    if revealing:
        raise CheckFailed(f"{own} or {session.helo} is told in {', '.join(revealing)}")
    return f"{own} is not in {len(received.items())} headers"


@registry.check("special-folders")
def special_folders(server: Server) -> str:
    """Sent, Drafts, Junk, Trash and Archive exist, are subscribed and carry their meaning (RFC 6154)."""
    with server.imap() as session:
        _status, every = session.list()
        _status, subscribed = session.lsub()
    found = {use for line in every for use in re.findall(r"\\(\w+)", line.decode().split(")")[0])}
    missing = {"Sent", "Drafts", "Junk", "Trash", "Archive"} - found
    if missing:
        raise CheckFailed(f"no folder is marked {', '.join(sorted(missing))}: {every}")
    names = {line.decode().split()[-1].strip('"') for line in subscribed}
    if not {"Sent", "Drafts", "Junk", "Trash", "Archive"} <= names:
        raise CheckFailed(f"only {sorted(names)} are subscribed")
    return ", ".join(sorted(names))


@registry.check("managesieve")
def managesieve(server: Server) -> str:
    """ManageSieve answers on 4190 and offers Sieve with fileinto and vacation (RFC 5804)."""
    with open_tls(server, server.address(), 4190, server.tls()) as tls:
        lines = sieve_capabilities(server, tls, "after STARTTLS")
    extensions = re.search(r'"SIEVE" "([^"]*)"', lines)
    if not extensions or not {"fileinto", "vacation"} <= set(extensions[1].split()):
        raise CheckFailed(f"ManageSieve offers {lines!r}")
    return extensions[1][:80]
