#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dkim_keyring
short_description: Keep one DKIM key for each of many domains in a directory
version_added: 0.1.0
description:
  - Makes sure that every domain has a private key for DKIM in one directory, and returns the TXT records that publish them. All
    domains are one task, however many they are.
  - A key that a domain has in O(directory) is used as it is. If it has none there, one at the places in O(adopt), or one that
    O(dkimproxy) or O(opendkim) names, is copied, with its modification time, and the original is left alone. What these sign with
    counts more than other files. If there is none either, one is made.
  - The copy of an Ed25519 key in PEM is its seed, the form that every Rspamd signs with. Such a key in O(directory) is told by a warning.
  - Without a selector in O(domains), the selector is that of the key that is found, by its file name. Of several the key with the
    newest modification time counts, and of equally old ones the greatest selector. A selector that is found this way is one label; one
    with dots must be given.
  - The selector of a new key is O(default_selector), a hyphen, and the first eight digits of the key's SHA-256. So no two keys ever have
    the same one, on whatever host and day they are made, and verifiers never take the record of one for that of the other
    (RFC 6376 section 3.1).
  - The selector of a key that exists may have underscores, as some panels make them; that of a new key may not (RFC 6376 section 3.1).
  - A key whose selector is given in O(domains) and that O(signing) says is in use must be there. If it is gone, a new one under the
    same selector is refused.
  - All files are read before the first is written. One that is damaged, encrypted, or no key for DKIM is an error, and nothing
    is changed.
  - No key is ever removed or replaced. That of a domain that is not listed any more stays.
  - Otherwise as M(postmaster.mail.dkim_keypair), and by the same code. The private keys appear in no result, diff or message.
requirements:
  - cryptography >= 38 on the host where the keys are
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
author:
  - The postmaster.mail developers (@postmaster-mail)
options:
  directory:
    description:
      - Absolute path of the directory. It is made if it is missing; its parent must exist, unless it is this default's.
      - Nobody but root (or whoever runs this) may be able to change the directories above it. Below the directory of a service,
        that service could put another directory in its place, which this module would then give away.
    type: path
    default: /var/lib/postmaster-mail/dkim
  directory_mode:
    description: Mode of the directory. Owner and group are those of the keys.
    type: raw
    default: '0750'
  file_pattern:
    description: File name of a key; C({domain}) and C({selector}) are replaced.
    type: str
    default: '{domain}.{selector}.key'
  domains:
    description:
      - Domain to a dictionary, which may be empty, of C(selector) (string), C(algorithm) (C(rsa) or C(ed25519)), C(bits) (1024 to
        4096, for RSA) and C(enabled) (a domain with V(false) gets no key and is left out of RV(keys)). None of them is required.
      - Algorithm and length are for a new key. A key that exists is kept, with a warning if it is another one than asked for.
    type: dict
    required: true
  default_selector:
    description:
      - How the selector of a new key begins if its domain says none, such as V(s20261122) for V(s20261122-0a1b2c3d).
    type: str
    required: true
  algorithm:
    description: Algorithm of a new key if its domain says none.
    type: str
    choices: [rsa, ed25519]
    default: rsa
  bits:
    description: Length of a new RSA key if its domain says none, from 1024 to 4096.
    type: int
    default: 2048
  adopt:
    description:
      - Absolute paths where an earlier set-up may have keys. A string holds C({domain}) and C({selector}); upper and lower case are
        the same in both. A dictionary has C(path) and C(selector) where the path does not say the selector, or one key is that of
        several domains; of its path, C({domain}) is optional. Its C(domains) (a list) are the only ones that the key is for.
      - A file at one of these places that is not used is named in a warning with the reason, in the run in which its domain gets
        its key; one that is no key for DKIM and would be used is an error.
    type: list
    elements: raw
    default: []
  former:
    description:
      - Absolute paths of directories where an earlier release of this collection had the keys, with names as in O(file_pattern). Of a
        domain that has no key in O(directory), all keys there are copied. The originals are left alone.
      - Such a directory may be one of a service. Links in it are not followed.
    type: list
    elements: path
    default: []
    version_added: 0.1.0
  dkimproxy:
    description:
      - Absolute paths where dkimproxy's configuration for signing (C(dkimproxy_out.conf)) may be. A key that it signs with is one more
        that can be adopted, wherever it lies, under the selector that it has there.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  opendkim:
    description:
      - Absolute paths where OpenDKIM's configuration may be. What it signs with, by C(KeyFile) and C(Selector) or by C(KeyTable) and
        C(SigningTable), is one more that can be adopted, as with O(dkimproxy). Tables that are no files are named in a warning if a
        domain gets a new key.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  signing:
    description:
      - A JSON file in which the signer's configuration says which keys sign, domain to a list of dictionaries with C(selector).
      - It tells RV(keys.in_use); where it does not exist, no key signs yet.
    type: path
  owner:
    description: Owner of directory and keys.
    type: str
    default: root
  group:
    description:
      - Group of directory and keys, which the signer reads them by.
      - In check mode it need not exist yet.
    type: str
  mode:
    description: Mode of the keys. One that opens them to everyone is refused.
    type: raw
    default: '0640'
seealso:
  - module: postmaster.mail.dkim_keypair
notes:
  - In check mode the record of a key that is yet to be made is not known; its values are then null.
"""

EXAMPLES = r"""
- name: Keys | One DKIM key per domain
  postmaster.mail.dkim_keyring:
    group: _rspamd
    default_selector: "s{{ now(utc=true, fmt='%Y%m%d') }}"
    domains:
      example.org: {}
      example.net: {selector: mail}
    adopt:
      - /etc/opendkim/keys/{domain}/{selector}.private
      - {path: /home/user-data/mail/dkim/mail.private, selector: mail}
  register: keyring

- name: Keys | What to publish
  ansible.builtin.debug:
    msg: "{{ keyring['keys'].values() | map(attribute='zone_line') }}"
"""

RETURN = r"""
keys:
  description: Domain to what there is to say of its key. In a template it is C(result['keys']), because C(result.keys) is a method.
  returned: success
  type: dict
  contains:
    selector:
      description: Selector of the key. Null in check mode if it is made of a key that is yet to be made.
      type: str
      sample: s20261122-0a1b2c3d
    selectors:
      description: Selectors of all keys of this domain in the directory, the one in use first.
      type: list
      elements: str
    path:
      description: Path of the private key. Null as RV(keys.selector).
      type: str
      sample: /var/lib/postmaster-mail/dkim/example.org.s20261122-0a1b2c3d.key
    in_use:
      description: Whether O(signing) says that this key signs already.
      type: bool
    since:
      description: The day on which it began to sign, as O(signing) has it, else null.
      type: str
      sample: '2026-11-22'
    others:
      description:
        - Further keys of this domain in the directory, the newest first, as C(selector), C(path), C(in_use), C(since), and C(name) and
          C(value) of the record.
      type: list
      elements: dict
    origin:
      description: V(existing), V(adopted) or V(created), by what this run found or did (in check mode, would do).
      type: str
      sample: existing
    adopted_from:
      description: Path of the original if it was adopted in this run, else null.
      type: str
    name:
      description: Name of the record, without a trailing dot. Null as RV(keys.selector).
      type: str
      sample: s20261122-0a1b2c3d._domainkey.example.org
    type:
      description: Type of the record.
      type: str
      sample: TXT
    value:
      description: The whole value of the record. Null in check mode if the key is yet to be made.
      type: str
      sample: v=DKIM1; k=rsa; p=MIIBIjANBgkq...
    strings:
      description: The value in strings of at most 255 octets.
      type: list
      elements: str
    zone_line:
      description: A line for a zone file.
      type: str
    algorithm:
      description: Algorithm of the key.
      type: str
      sample: rsa
    bits:
      description: Length of the key.
      type: int
      sample: 2048
    format:
      description: Format of the key's file, as in M(postmaster.mail.dkim_keypair).
      type: str
      sample: pkcs8
    public_key:
      description: The public key in base64, as in C(p=).
      type: str
    fingerprint:
      description: SHA-256 of the public key as SubjectPublicKeyInfo, hexadecimal.
      type: str
"""

import contextlib
import json
import os
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files
from ansible_collections.postmaster.mail.plugins.module_utils._keys import dkim as dkim_keys
from ansible_collections.postmaster.mail.plugins.module_utils._keys import dkimproxy, opendkim
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim

STATE = "/var/lib/postmaster-mail"
ORIGINS = {"keep": "existing", "copy": "adopted", "create": "created"}


def _wanted(params: dict) -> dict[str, dict[str, Any]]:
    """Return the enabled domains in canonical form, every setting filled in."""
    found = {}
    for given, settings in params["domains"].items():
        domain = _names.domain_name(given, "domains")
        settings = {} if settings is None else settings
        if not isinstance(settings, dict):
            raise MailError(f"domains: {domain}: {settings!r} must be a dictionary")
        unknown = sorted(set(settings) - {"enabled", "selector", "algorithm", "bits"})
        if unknown:
            raise MailError(f"domains: {domain}: unknown {unknown[0]!r}; known are enabled, selector, algorithm, bits")
        enabled = settings.get("enabled", True)
        bits = settings.get("bits") or params["bits"]
        if not isinstance(enabled, bool):
            raise MailError(f"domains: {domain}: enabled {enabled!r} must be true or false")
        if isinstance(bits, bool) or not isinstance(bits, int):
            raise MailError(f"domains: {domain}: bits {bits!r} must be a number")
        if domain in found:
            raise MailError(f"domains: {domain} is listed twice, the second time as {given!r}")
        selector = settings.get("selector")
        algorithm = settings.get("algorithm") or params["algorithm"]
        try:
            dkim.check_wanted(algorithm, bits, None)
            selector = _names.selector(selector) if selector else None
        except MailError as exc:
            raise MailError(f"domains: {domain}: {exc}") from None
        found[domain] = {"enabled": enabled, "selector": selector, "algorithm": algorithm, "bits": bits}
    return {domain: settings for domain, settings in found.items() if settings["enabled"]}


def _signers(params: dict, domains: Iterable[str]) -> tuple[dict[str, list[dkim.Signer]], list[str]]:
    """Return which keys sign for each domain by the configuration of dkimproxy and OpenDKIM, and what of it cannot be read."""
    found: dict[str, list[dkim.Signer]] = {}
    unread = []
    for option in ("dkimproxy", "opendkim"):
        for path in params[option]:
            if not os.path.isabs(path):
                raise MailError(f"{option} {path!r} must be an absolute path")
            text = _text(path)
            if option == "dkimproxy":
                signers = dkimproxy.signers(text, path, _text(dkimproxy.sender_map(text) or ""))
            else:
                try:
                    signers = opendkim.signers(text, path, domains, _text)
                except MailError as exc:
                    unread.append(f"{exc}: if there are keys of these domains, name them in dkim_adopt")
                    continue
            for domain, signer in signers.items():
                found.setdefault(domain, []).append(signer)
    return found, unread


def _text(path: str) -> str:
    """Return the text of a file, empty where there is none."""
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def _in_use(path: str | None) -> dict[tuple[str, str], str | None]:
    """Return the pairs of domain and selector that sign already, with the day since when, where it is known."""
    if path is None or not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as stream:
            table = json.load(stream)
        return {(domain, key["selector"]): key.get("since") for domain, keys in table.items() for key in keys}
    except (ValueError, AttributeError, KeyError, TypeError) as exc:
        raise MailError(f"signing {path!r} is not a JSON file of domain to a list of dictionaries with selector") from exc


def _described(member: dkim_keys.Member, facts: dkim.KeyFacts | None, in_use: dict[tuple[str, str], str | None], path_of: Any) -> dict:
    """What is returned of one domain."""
    step = member.step
    bits = 256 if step.algorithm == "ed25519" else step.bits
    told = facts or dkim.KeyFacts(step.algorithm, bits, "", "", dkim.FORMATS[step.algorithm][0])
    return {
        "selector": member.selector,
        "selectors": member.selectors,
        "path": step.path,
        "in_use": (member.domain, member.selector) in in_use,
        "since": in_use.get((member.domain, member.selector)),
        "others": [
            {
                "selector": selector,
                "path": path_of(member.domain, selector),
                "in_use": (member.domain, selector) in in_use,
                "since": in_use.get((member.domain, selector)),
                **{name: dkim.published(selector, member.domain, key.facts)[name] for name in ("name", "value")},
            }
            for selector, key in member.others
        ],
        "origin": ORIGINS[step.action],
        "adopted_from": step.source if step.action == "copy" else None,
        "algorithm": told.algorithm,
        "bits": told.bits,
        "format": told.format,
        "public_key": facts.public_key if facts else None,
        "fingerprint": facts.fingerprint if facts else None,
        **dkim.published(member.selector, member.domain, facts),
    }


def _directory(module: AnsibleModule, attributes: dkim_keys.Attributes, path: str) -> bool:
    """Make sure that the directory exists with its attributes; return whether that changes anything."""
    mode = module.params["directory_mode"]
    # In this order, since a parallel run may make it meanwhile.
    if os.path.lexists(path) and not os.path.isdir(path):
        raise MailError(f"directory {path!r} is no directory")
    if os.path.isdir(path):
        return attributes.correct(path, mode=mode, directory=True)
    if not module.check_mode:
        missing = [path]
        # Our own, which no other task need have made yet.
        while STATE in (missing[-1], os.path.dirname(missing[-1])) and not os.path.isdir(os.path.dirname(missing[-1])):
            missing.append(os.path.dirname(missing[-1]))
        if not os.path.isdir(os.path.dirname(missing[-1])):
            raise MailError(f"directory {path!r} is in a directory that does not exist")
        for one in reversed(missing):
            # Closed until it belongs to whom it should; a parallel run may have made it meanwhile.
            with safe_files.place(one, follow=False) as found, contextlib.suppress(FileExistsError):
                os.mkdir(found.name, 0o700, dir_fd=found.folder)
            if one != path:
                os.chmod(one, 0o755)
        _alone(path)
        attributes.correct(path, mode=mode, directory=True)
    return True


def _alone(path: str) -> None:
    """See that nobody else can put something in the place of a directory.

    :raises MailError: one of the directories above it belongs to somebody else
    """
    while not os.path.isdir(os.path.dirname(path)):
        path = os.path.dirname(path)
    with safe_files.place(path, follow=False) as found:
        if found.foreign:
            raise MailError(
                f"directory {path!r} is below {found.foreign!r}, which {found.foreign_user} can change: whoever that is could put another "
                "directory in its place; keys belong below directories of root alone"
            )


def keyring(module: AnsibleModule) -> dict:
    """Do the module's work; return its result."""
    params = module.params
    directory = dkim_keys.file_path("directory", params["directory"])
    adopt = dkim_keys.places(params["adopt"])
    domains = _wanted(params)
    default_selector = _names.new_selector(params["default_selector"], "default_selector")
    for former in params["former"]:
        if not os.path.isabs(former):
            raise MailError(f"former {former!r} must be an absolute path")
    _alone(directory)
    in_use = _in_use(params["signing"])
    signers, unread = _signers(params, domains)
    attributes = dkim_keys.Attributes(module)

    def planned() -> list[dkim_keys.Member]:
        members = dkim_keys.plan_keyring(directory, params["file_pattern"], domains, default_selector, adopt, signers, params["former"])
        for member in members:
            attributes.check_key(member.step.path)
            if member.step.action == "create" and (member.domain, member.selector) in in_use:
                raise MailError(
                    f"domain {member.domain!r}: mail is signed with selector {member.selector!r}, as {params['signing']} says, but its key "
                    f"{member.step.path!r} is gone, and a selector must not come back with another key (RFC 6376 section 3.1): restore the "
                    "key, or name a selector that the domain has never had"
                )
        return members

    def path_of(domain: str, selector: str) -> str:
        return dkim_keys.key_path(directory, params["file_pattern"], domain, selector)

    changed = False
    if module.check_mode or not os.path.isdir(directory):
        # There is no lock to hold yet, but a broken file at the places to adopt from is found before the directory is made.
        members = planned()
        changed = _directory(module, attributes, directory)
    keys, after = {}, {}
    with contextlib.nullcontext() if module.check_mode else dkim_keys.locked(directory):
        if not module.check_mode:
            members = planned()
            changed = _directory(module, attributes, directory) or changed
        for member in members:
            if not module.check_mode:
                member = dkim_keys.named(member, directory, params["file_pattern"], default_selector)
                for moved in member.moved:
                    dkim_keys.clean(moved.path)
                    dkim_keys.carry_out(moved, attributes.give)
            step = member.step
            facts = step.facts
            if not module.check_mode:
                dkim_keys.clean(step.path)
                key, _none = dkim_keys.carry_out(step, attributes.give)
                facts = key.facts
            if step.action == "keep":
                changed = attributes.correct(step.path) or changed
            else:
                changed = True
                name = step.path or path_of(member.domain, f"{default_selector}-(digest)")
                after[name] = {"origin": ORIGINS[step.action], "fingerprint": facts.fingerprint if facts else "known after the run"}
            if step.action == "copy":
                module.warn(f"{member.domain}: the key {step.source} is adopted as {step.path}; the original was left alone")
            elif step.action == "keep" and dkim_keys.silent(facts):
                module.warn(
                    f"{member.domain}: the key {step.path} is Ed25519 in PEM, and Rspamd before 3.13.2 signs nothing with it, without a "
                    "word: write it as a seed, with postmaster.mail.dkim_keypair and format=seed"
                )
            for path, reason in sorted(member.passed_over.items()):
                module.warn(f"{member.domain}: the key {path} is not used: {reason}")
            for text in step.warnings:
                module.warn(f"{member.domain}: {step.path}: {text}")
            keys[member.domain] = _described(member, facts, in_use, path_of)
    created = [member.domain for member in members if member.step.action == "create"]
    for text in unread if created else ():
        module.warn(f"{', '.join(created)}: {text}")
    return {"changed": changed, "keys": keys, "diff": {"before": {}, "after": after}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "default": "/var/lib/postmaster-mail/dkim"},
            "directory_mode": {"type": "raw", "default": "0750"},
            "file_pattern": {"type": "str", "default": "{domain}.{selector}.key"},
            "domains": {"type": "dict", "required": True},
            "default_selector": {"type": "str", "required": True},
            "algorithm": {"type": "str", "choices": ["rsa", "ed25519"], "default": "rsa"},
            "bits": {"type": "int", "default": 2048},
            "adopt": {"type": "list", "elements": "raw", "default": []},
            "former": {"type": "list", "elements": "path", "default": []},
            "dkimproxy": {"type": "list", "elements": "str", "default": []},
            "opendkim": {"type": "list", "elements": "str", "default": []},
            "signing": {"type": "path"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str"},
            "mode": {"type": "raw", "default": "0640"},
        },
        supports_check_mode=True,
    )
    if dkim_keys.CRYPTOGRAPHY_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography >= 38"), exception=dkim_keys.CRYPTOGRAPHY_ERROR)
    try:
        result = keyring(module)
    except MailError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"{exc.filename or module.params['directory']}: {exc.strerror}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
