# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dkim_keypair and Debian's Rspamd: each reads the other's keys; what Rspamd signs is verified by dkimpy with our record."""

from __future__ import annotations

import json
from pathlib import Path

import dkim
import pytest

KINDS = ("rsa-pkcs8", "rsa-pkcs1", "ed25519-seed", "rspamadm-rsa", "rspamadm-ed25519", "rspamadm-underscore")


@pytest.fixture(scope="module")
def results(play):
    path = play.directory / "rspamd.json"
    done = play(Path(__file__).parent / "rspamd.yml", "-e", f"result_file={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(path.read_text())
    return {name: {entry["item"]: entry for entry in found[name]["results"]} for name in ("made", "signed")} | {
        "keys": {entry["item"]["key"]: entry for entry in found["keys"]["results"]}
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_rspamd_signs_verifies_with_our_record(results, kind):
    message = results["signed"][kind]["stdout"].replace("\r\n", "\n").replace("\n", "\r\n").encode()
    assert message.lower().count(b"dkim-signature:") == 1, message
    record = results["keys"][kind]["record"]
    assert f"a={'ed25519' if 'ed25519' in kind else 'rsa'}-sha256".encode() in message
    assert record["name"].partition("._domainkey.")[0] == ("default_1807" if kind == "rspamadm-underscore" else "s1")

    def answer(name, timeout=5):
        return record["value"].encode() if name.decode().rstrip(".") == record["name"] else None

    assert dkim.verify(message + b"\r\n" * (not message.endswith(b"\r\n")), dnsfunc=answer)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("rspamadm")])
def test_a_key_of_rspamadm_is_adopted_and_agrees_on_the_record(results, kind):
    """Its group and mode were changed, its octets were not."""
    key = results["keys"][kind]
    assert key["diff"][0]["before"]["fingerprint"] == key["diff"][0]["after"]["fingerprint"] == key["fingerprint"]
    written = "".join(results["made"][kind]["stdout"].split('"')[1::2])
    assert written.partition("p=")[2].strip() == key["public_key"]
