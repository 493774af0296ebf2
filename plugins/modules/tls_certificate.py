# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificate
short_description: Have a TLS key and certificate where services expect them
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Makes sure that a private key and a certificate chain exist at two fixed paths, so that services can be configured and
    started before the real certificate has been issued.
  - Without a source, a self-signed stand-in is made where there is nothing; a certificate that somebody else made or that an
    authority issued is never replaced. With a source, a pair of the user's own is checked and put in place.
  - The private key is kept when a stand-in is remade.
  - Key and certificates may be in one file or text of the user's. O(key) gets the private key alone, and O(chain), which everybody may
    read, the certificates alone.
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
requirements:
  - cryptography >= 38 on the host
options:
  key:
    description: Where the private key belongs, in PEM.
    type: path
    required: true
  chain:
    description: Where the certificate and its chain belong, in PEM.
    type: path
    required: true
  names:
    description: The names that the certificate must carry, the server's own first.
    type: list
    elements: str
    required: true
  source_key:
    description: A private key of the user's own, as PEM text or as a path on the host.
    type: str
  source_chain:
    description: The certificate of O(source_key) with its chain, as PEM text or as a path on the host. Only certificates are taken from it.
    type: str
  replace:
    description:
      - Whether a certificate that this module has not made gives way to a stand-in, for the key that is there. For those who want
        a self-signed one and had another before.
    type: bool
    default: false
  lineage:
    description: Where certbot keeps its certificate, C(/etc/letsencrypt/live/NAME), to be told of in RV(lineage).
    type: path
  authenticator:
    description: How certbot is meant to answer the challenge, by the name of its plugin.
    type: str
    default: standalone
  server:
    description: The authority that is meant to issue, as the URL of its directory; by default any.
    type: str
  owner:
    description: Owner of both files.
    type: str
    default: root
  group:
    description: Group of both files.
    type: str
  mode:
    description: Mode of the private key, which must not be readable by all; the chain always is.
    type: str
    default: "0600"
"""

EXAMPLES = r"""
- name: Something to start with, until the authority has issued the real one
  postmaster.mail.tls_certificate:
    key: /etc/ssl/postmaster-mail/mail.example.org.key
    chain: /etc/ssl/postmaster-mail/mail.example.org.pem
    names: [mail.example.org]

- name: A certificate of our own
  postmaster.mail.tls_certificate:
    key: /etc/ssl/postmaster-mail/mail.example.org.key
    chain: /etc/ssl/postmaster-mail/mail.example.org.pem
    names: [mail.example.org]
    source_key: /root/wildcard.key
    source_chain: /root/wildcard.pem
"""

RETURN = r"""
stand_in:
  description: Whether the certificate in place is a self-signed one that this module made.
  type: bool
  returned: success
names:
  description: The names in the certificate.
  type: list
  elements: str
  returned: success
missing_names:
  description: Those of O(names) that the certificate does not cover.
  type: list
  elements: str
  returned: success
not_after:
  description: When the certificate ends, in UTC and ISO 8601.
  type: str
  returned: success
days_left:
  description: Whole days until then.
  type: int
  returned: success
lineage:
  description:
    - V(none) if certbot keeps no certificate in O(lineage). V(other) if it was issued by another authority than O(server), or is
      renewed by another challenge than that of O(authenticator) or not at all, so that it has to be issued anew.
    - V(waiting) if it is not the one in place, V(in place) if it is.
  type: str
  returned: with O(lineage)
fingerprint:
  description: SHA-256 of the certificate, in hexadecimal digits.
  type: str
  returned: success
"""

import grp
import os
import pwd
import re

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _secret_text
from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import rules
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files
from ansible_collections.postmaster.mail.plugins.module_utils._keys import certificate


def read(path):
    """Return the bytes of a file, or ``None`` where there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def lineage(params, chain):
    """Return how certbot's certificate stands to the one in place."""
    live, name = os.path.split(params["lineage"].rstrip("/"))
    renewal = read(os.path.join(os.path.dirname(live), "renewal", f"{name}.conf"))
    issued = read(os.path.join(params["lineage"], "fullchain.pem"))
    text = None if renewal is None else renewal.decode("utf-8", "replace")
    return certificate.lineage(text, issued, chain, params["authenticator"], params["server"])


def source(text, option):
    """Return the PEM bytes that an option gives, as text or by a path."""
    # Other text may stand before it (RFC 7468 section 2), as openssl pkcs12 writes.
    if "-----BEGIN " in text:
        return text.strip().encode() + b"\n"
    try:
        found, why = read(text), ""
    except (OSError, ValueError) as exc:  # whose own text has the value, which may be a key
        found, why = None, f": {getattr(exc, 'strerror', None) or 'it holds a NUL'}"
    if found is None:
        # Ansible masks the value of source_key wherever it appears, a path as well.
        raise MailError(f"{option} is neither PEM text nor the path of a file on the host{why}")
    return found


def plan(params, wanted):
    """Return (key text, chain text) as they have to be; what is kept is returned as it is."""
    key, chain = read(params["key"]), read(params["chain"])
    if params["source_key"]:
        key = certificate.only_key(source(params["source_key"], "source_key"), "source_key")
        chain = certificate.only_certificates(source(params["source_chain"], "source_chain"), "source_chain")
        certificate.check_pair(
            certificate.load_key(key, "source_key"), certificate.load_leaf(chain, "source_chain"), wanted, "source_key and source_chain"
        )
        return key, chain
    if key is None and chain is not None:
        raise MailError(f"chain {params['chain']!r} exists but key {params['key']!r} does not: restore the key or remove the chain")
    private = certificate.new_key() if key is None else certificate.load_key(key, f"key {params['key']!r}")
    if chain is not None:
        leaf = certificate.load_leaf(chain, f"chain {params['chain']!r}")
        if not certificate.matches(private, leaf):
            raise MailError(f"key {params['key']!r} is not that of chain {params['chain']!r}: restore the pair or remove both")
        facts = certificate.facts(leaf, wanted)
        good = not facts["missing_names"] and facts["days_left"] > 30 if facts["stand_in"] else not params["replace"]
        if good:
            if _secret_text.has_private_key(chain):
                chain = certificate.only_certificates(chain, f"chain {params['chain']!r}")
            return key, chain
    return (certificate.key_text(private) if key is None else key), certificate.stand_in(private, wanted)


def describe(text, wanted):
    """Return what a diff says of a certificate: facts, never the text of a key."""
    if text is None:
        return ""
    try:
        facts = certificate.facts(certificate.load_leaf(text, "chain"), wanted)
    except MailError as exc:
        return f"{exc}\n"
    return f"names {', '.join(facts['names'])}\nnot after {facts['not_after']}\nsha256 {facts['fingerprint']}\n"


def write(module, path, text, mode, numbers):
    """Put one file in place through a temporary one, with owner and mode before the name; return whether it changed."""
    wanted = (*numbers, mode)
    changed = read(path) != text
    if changed and not module.check_mode:
        safe_files.write(path, text, lambda handle: safe_files.change(handle, *wanted))
    try:
        with safe_files.place(path) as found:
            handle = found.open()
    except FileNotFoundError:
        return changed
    try:
        return safe_files.change(handle, *wanted, module.check_mode) or changed
    finally:
        os.close(handle)


def owners(params, check):
    """Return the numbers of owner and group; None for a name that in check mode is still to come."""
    found = []
    for option, lookup in (("owner", lambda name: pwd.getpwnam(name).pw_uid), ("group", lambda name: grp.getgrnam(name).gr_gid)):
        value = params[option]
        try:
            found.append(None if value is None else int(value) if re.fullmatch("[0-9]+", value) else lookup(value))
        except KeyError:
            if not check:
                raise MailError(f"{option} {value!r} does not exist on this host") from None
            found.append(None)
    return found


def main():
    module = AnsibleModule(
        argument_spec={
            "key": {"type": "path", "required": True, "no_log": False},
            "chain": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "source_key": {"type": "str", "no_log": True},
            # It may hold the key as well.
            "source_chain": {"type": "str", "no_log": True},
            "replace": {"type": "bool", "default": False},
            "lineage": {"type": "path"},
            "authenticator": {"type": "str", "default": "standalone"},
            "server": {"type": "str"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str"},
            "mode": {"type": "str", "default": "0600"},
        },
        required_together=[("source_key", "source_chain")],
        mutually_exclusive=[("source_key", "replace")],
        supports_check_mode=True,
    )
    if certificate.CRYPTOGRAPHY_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=certificate.CRYPTOGRAPHY_ERROR)
    params = module.params
    try:
        wanted = [_names.domain_name(name, "names") for name in params["names"]]
        numbers, mode = owners(params, module.check_mode), rules.octal_mode(params["mode"], "mode")
        if mode & 0o007:
            raise MailError(f"mode {params['mode']!r} would open the private key to everyone on this host")
        if os.path.realpath(params["key"]) == os.path.realpath(params["chain"]):
            raise MailError(f"key and chain {params['chain']!r} must be two files: everybody may read the chain")
        before = read(params["chain"])
        key, chain = plan(params, wanted)
        missing = certificate.gap(chain, "source_chain") if params["source_key"] else ""
        result = certificate.facts(certificate.load_leaf(chain, "chain"), wanted)
        if params["lineage"]:
            result["lineage"] = lineage(params, chain)
    except MailError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"{exc.filename}: {exc.strerror}")
    if missing:
        module.warn(missing)
    if before and _secret_text.has_private_key(before) and os.stat(params["chain"]).st_mode & 0o004:
        module.warn(
            f"chain {params['chain']!r} held a private key that everybody on this host could read: it is taken out of there, but have a "
            "certificate with a new key issued"
        )
    try:
        if not module.check_mode:
            os.makedirs(os.path.dirname(params["key"]), 0o755, exist_ok=True)
        changed = write(module, params["key"], key, mode, numbers)
        changed = write(module, params["chain"], chain, 0o644, numbers) or changed
    except MailError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"{exc.filename or params['key']}: {exc.strerror}")
    module.exit_json(changed=changed, diff={"before": describe(before, wanted), "after": describe(chain, wanted)}, **result)


if __name__ == "__main__":
    main()
