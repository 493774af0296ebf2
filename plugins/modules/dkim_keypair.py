#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dkim_keypair
short_description: Make or adopt a DKIM key pair and return its DNS record
version_added: 0.1.0
description:
  - Makes sure that a private key for DKIM exists, and returns the TXT record that publishes its public key.
  - A key that is there is adopted as it is, whether openssl, opendkim-genkey, rspamadm or dkimpy made it. A key of 1024 to 2047 bits
    is adopted with a warning; a shorter one is refused, as verifiers refuse it (RFC 8301 section 3.2).
  - A file that is damaged, encrypted, or no key for DKIM is an error and stays as it is, whatever O(regenerate) says.
  - A key gets its name only when it is complete and has its owner and mode. Of two runs at the same time one makes the key and
    the other finds it.
  - The private key appears in no result, diff or message.
  - To keep the keys of many domains in one directory, M(postmaster.mail.dkim_keyring) needs one task only.
requirements:
  - cryptography >= 38 on the host where the key is
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
author:
  - The postmaster.mail developers (@postmaster-mail)
options:
  path:
    description:
      - Absolute path of the private key.
      - Its directory must exist. Of a symbolic link the target is meant.
    type: path
    required: true
  state:
    description:
      - V(present) makes sure that the key exists.
      - V(absent) removes it, and O(public_path) if given. The record is not withdrawn from DNS.
    type: str
    choices: [present, absent]
    default: present
  domain:
    description: Domain that signs, C(d=) of the signature. Required if O(state=present).
    type: str
  selector:
    description: Selector of the key, C(s=) of the signature; it may hold dots. Required if O(state=present).
    type: str
  algorithm:
    description:
      - Algorithm of a new key.
      - Large mailbox providers do not verify V(ed25519) yet, so use it only beside an RSA key, with a selector of its own (RFC 8463
        section 6).
    type: str
    choices: [rsa, ed25519]
    default: rsa
  bits:
    description:
      - Length of a new RSA key, from 1024 to 4096. Below 2048 there is a warning.
      - An Ed25519 key always has 256 and this option means nothing for it.
    type: int
    default: 2048
  format:
    description:
      - How the private key stands in its file. A key that exists is rewritten in this format only if O(regenerate=mismatch).
      - V(pkcs8) and V(pkcs1) are PEM. All signers known here read both for RSA (Rspamd, OpenDKIM, filter-dkimsign, dkimpy).
      - V(seed) is the base64 of an Ed25519 seed. For Ed25519, Rspamd before 3.13.2 and dkimpy read V(seed) alone, filter-dkimsign reads
        V(pkcs8) alone, Rspamd 3.13.2 and later reads both, OpenDKIM neither. V(pkcs1) is for RSA only.
      - When left out, a new RSA key is V(pkcs8), a new Ed25519 key is V(seed), and an existing key is as it is.
    type: str
    choices: [pkcs8, pkcs1, seed]
  public_path:
    description:
      - Absolute path of a file that holds the public key in PEM form, mode V(0644). It follows the private key.
      - A file that holds anything but one RSA or Ed25519 public key in PEM form is an error and stays as it is.
    type: path
  flags:
    description:
      - Flags in C(t=) of the record. V(y) says that the domain tests DKIM, V(s) that C(i=) must be of exactly this domain.
    type: list
    elements: str
    choices: ['y', s]
    default: []
  notes:
    description: Text for C(n=) of the record, meant for administrators. Encoded as the RFC demands.
    type: str
  regenerate:
    description:
      - V(never) keeps any key for DKIM that is there, with a warning if it is not of the wanted O(algorithm), O(bits) or O(format).
      - V(mismatch) makes a new key if algorithm or bits differ, and rewrites the same key if only O(format) differs.
      - V(always) makes a new key in each run.
      - A new key under the same selector invalidates mail that is under way; a new selector does not.
    type: str
    choices: [never, mismatch, always]
    default: never
  backup:
    description: Keep a key that is replaced or removed, private or public, beside it, with its owner and mode.
    type: bool
    default: false
  owner:
    description: Owner of the key. When left out, a new key belongs to the user that runs the module and an existing one is left as it is.
    type: str
  group:
    description: Group of the key. When left out, as with O(owner).
    type: str
  mode:
    description:
      - Mode of the key. One that opens the key to everyone is refused. A signer that does not run as root needs V(0640) and a O(group) of
        its own.
    type: raw
    default: '0600'
seealso:
  - module: postmaster.mail.dkim_keyring
  - plugin: postmaster.mail.dkim_record
    plugin_type: filter
notes:
  - In check mode the record of a key that is yet to be made is not known; RV(record.value) is then null.
"""

EXAMPLES = r"""
- name: Keys | Their directory
  ansible.builtin.file:
    path: /etc/mail/dkim
    state: directory
    owner: root
    group: root
    mode: "0700"

- name: Keys | A key for example.org
  postmaster.mail.dkim_keypair:
    path: /etc/mail/dkim/example.org.s20261122.key
    domain: example.org
    selector: s20261122
    owner: root
    group: root
    mode: "0600"
  register: key

- name: Keys | What to publish
  ansible.builtin.debug:
    msg: "{{ key.record.zone_line }}"

- name: Keys | An Ed25519 key beside it, for filter-dkimsign
  postmaster.mail.dkim_keypair:
    path: /etc/mail/dkim/example.org.e20261122.key
    domain: example.org
    selector: e20261122
    algorithm: ed25519
    format: pkcs8
"""

RETURN = r"""
path:
  description: Path of the private key, links resolved.
  returned: success
  type: str
  sample: /etc/mail/dkim/example.org.s20261122.key
record:
  description: The record that publishes the key.
  returned: O(state=present)
  type: dict
  contains:
    name:
      description: Name of the record, without a trailing dot.
      type: str
      sample: s20261122._domainkey.example.org
    type:
      description: Type of the record.
      type: str
      sample: TXT
    value:
      description: The whole value. Null in check mode if the key is yet to be made.
      type: str
      sample: v=DKIM1; k=rsa; p=MIIBIjANBgkq...
    strings:
      description: The value in strings of at most 255 octets.
      type: list
      elements: str
    zone_line:
      description: A line for a zone file.
      type: str
      sample: s20261122._domainkey.example.org. IN TXT "v=DKIM1; k=rsa; p=MIIBIjANBgkq..." "..."
public_key:
  description: The public key in base64, as in C(p=). Null in check mode if the key is yet to be made.
  returned: O(state=present)
  type: str
algorithm:
  description: Algorithm of the key that is there.
  returned: O(state=present)
  type: str
  sample: rsa
bits:
  description: Length of the key that is there.
  returned: O(state=present)
  type: int
  sample: 2048
format:
  description: Format of the key that is there.
  returned: O(state=present)
  type: str
  sample: pkcs8
fingerprint:
  description: SHA-256 of the public key as SubjectPublicKeyInfo, hexadecimal. Null in check mode if the key is yet to be made.
  returned: O(state=present)
  type: str
backup_file:
  description: Where the former key is kept.
  returned: when O(backup=true) and a key was replaced or removed
  type: str
  sample: /etc/mail/dkim/example.org.s20261122.key.20261122T120000~
public_backup_file:
  description: Where the former public key is kept.
  returned: when O(backup=true) and the public key at O(public_path) was replaced or removed
  type: str
  sample: /etc/mail/dkim/example.org.s20261122.pub.20261122T120000~
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._keys import dkim as dkim_keys
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim


def _public(facts: dkim.KeyFacts | None) -> dict:
    """What a diff says of a key."""
    if facts is None:
        return {"state": "absent"}
    return {"state": "present", "algorithm": facts.algorithm, "bits": facts.bits, "format": facts.format, "fingerprint": facts.fingerprint}


def _diff(path: str, before: dkim.KeyFacts | None, after: dkim.KeyFacts | None) -> dict:
    return {"before_header": path, "after_header": path, "before": _public(before), "after": _public(after)}


def _public_file(
    module: AnsibleModule,
    attributes: dkim_keys.Attributes,
    path: str,
    old: dkim.KeyFacts | None,
    key: dkim_keys.PrivateKey | None,
    result: dict,
) -> None:
    """Make the file of the public key follow the private one.

    :param old: the public key that is there
    :param key: the private key; None where it is yet to be made
    """
    diff = result["diff"][1]
    if key is not None and old is not None and old.fingerprint == key.facts.fingerprint:
        result["changed"] |= attributes.correct(path, diff, mode="0644")
        return
    result["changed"] = True
    if not module.check_mode:
        if old and module.params["backup"]:
            result["public_backup_file"] = dkim_keys.keep_copy(path)
        dkim_keys.place(path, key.public_pem(), lambda handle: attributes.give(handle, mode="0644"), replace=True)


def present(module: AnsibleModule, path: str, public_path: str | None) -> dict:
    """Make sure that the key exists; return the module's result."""
    params = module.params
    domain, selector = _names.domain_name(params["domain"]), _names.selector(params["selector"])
    dkim.published(selector, domain, None)
    short = dkim.check_wanted(params["algorithm"], params["bits"], params["format"])
    attributes = dkim_keys.Attributes(module)
    attributes.check_key(path)
    old_public = dkim_keys.read_public(public_path) if public_path else None
    if not module.check_mode:
        dkim_keys.clean(path)
    step = dkim_keys.plan(path, params["algorithm"], params["bits"], params["format"], params["regenerate"])
    if step.action == "create":
        _names.new_selector(selector)
    warnings = list(step.warnings)
    if short and step.action in ("create", "replace"):
        warnings.append(short)
    result = {"changed": step.action != "keep", "path": path}
    key = step.new or (step.old if step.action == "keep" else None)
    if not module.check_mode:
        key, backup_file = dkim_keys.carry_out(step, attributes.give, params["backup"])
        if backup_file:
            result["backup_file"] = backup_file
    facts = key.facts if key else None
    bits = 256 if params["algorithm"] == "ed25519" else params["bits"]
    form = params["format"] or dkim.FORMATS[params["algorithm"]][0]
    yet_to_be_made = dkim.KeyFacts(params["algorithm"], bits, "", "known after the run", form)
    told = facts or yet_to_be_made
    result["diff"] = [_diff(path, step.old and step.old.facts, told)]
    if step.action == "keep" and attributes.correct(path, result["diff"][0]):
        result["changed"] = True
    if public_path:
        result["diff"].append(_diff(public_path, old_public, told._replace(format="spki")))
        _public_file(module, attributes, public_path, old_public, key, result)
    result.update(
        record=dkim.published(selector, domain, facts, params["flags"], params["notes"]),
        public_key=facts.public_key if facts else None,
        fingerprint=facts.fingerprint if facts else None,
        algorithm=told.algorithm,
        bits=told.bits,
        format=told.format,
    )
    for text in warnings:
        module.warn(f"{path}: {text}")
    return result


def absent(module: AnsibleModule, path: str, public_path: str | None) -> dict:
    """Remove the key, and the public one, if they are keys; return the module's result."""
    old = dkim_keys.read(path)
    found = {"backup_file": (path, old and old.facts)}
    if public_path:
        found["public_backup_file"] = (public_path, dkim_keys.read_public(public_path))
    result = {"changed": False, "path": path, "diff": [_diff(name, facts, None) for name, facts in found.values()]}
    for backup, (name, facts) in found.items():
        if facts is None:
            continue
        result["changed"] = True
        if not module.check_mode:
            if module.params["backup"]:
                result[backup] = dkim_keys.keep_copy(name)
            dkim_keys.remove(name)
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "domain": {"type": "str"},
            "selector": {"type": "str"},
            "algorithm": {"type": "str", "choices": ["rsa", "ed25519"], "default": "rsa"},
            "bits": {"type": "int", "default": 2048},
            "format": {"type": "str", "choices": ["pkcs8", "pkcs1", "seed"]},
            "public_path": {"type": "path"},
            "flags": {"type": "list", "elements": "str", "choices": ["y", "s"], "default": []},
            "notes": {"type": "str"},
            "regenerate": {"type": "str", "choices": ["never", "mismatch", "always"], "default": "never"},
            "backup": {"type": "bool", "default": False},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "raw", "default": "0600"},
        },
        required_if=[("state", "present", ["domain", "selector"])],
        supports_check_mode=True,
    )
    if dkim_keys.CRYPTOGRAPHY_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography >= 38"), exception=dkim_keys.CRYPTOGRAPHY_ERROR)
    try:
        path = dkim_keys.file_path("path", module.params["path"])
        public_path = module.params["public_path"]
        if public_path is not None:
            public_path = dkim_keys.file_path("public_path", public_path)
            if public_path == path:
                raise MailError(f"public_path {public_path!r} must be another file than path")
        work = present if module.params["state"] == "present" else absent
        directory = os.path.dirname(path)
        for option, name in (("path", path), ("public_path", public_path)):
            # In check mode, the task that would have made the directory did not run.
            if name and work is present and not module.check_mode and not os.path.isdir(os.path.dirname(name)):
                raise MailError(f"{option} {name!r} is in a directory that does not exist")
        lock = contextlib.nullcontext() if module.check_mode or not os.path.isdir(directory) else dkim_keys.locked(directory)
        with lock:
            result = work(module, path, public_path)
    except MailError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"{exc.filename or module.params['path']}: {exc.strerror}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
