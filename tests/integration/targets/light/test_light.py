# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host without the filter keeps the promises of its MTA and of Dovecot, in 60 MiB; it gets the filter, and is small again.

The tests build on each other, in the order of this file. Environment: LIGHT_MTA=opensmtpd; LIGHT_SUITE=bookworm for Debian 12; KEEP=1 to
use the host that is there, and to leave it.
"""

from __future__ import annotations

import json
import os
import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

import light
import load
from testnet_lib import machine

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

MTA, SUITE, KEEP = os.environ.get("LIGHT_MTA", "postfix"), os.environ.get("LIGHT_SUITE", "trixie"), bool(os.environ.get("KEEP"))
#: What its services do for each other, or refuse, without the filter in between; all promises take ten minutes.
PROMISES = (
    "second-run", "mx", "spf", "dmarc", "signature", "out-ipv4", "out-ipv6", "out-from-the-host", "out-signature", "missing-fields",
    "in-ipv4", "forged-headers", "dane", "tls-scan", "local-users", "envelope-sender", "own-alias", "sender-ownership", "no-mail",
    "closed-aliases", "no-open-relay", "unknown-recipient", "sieve-redirect", "no-backscatter", "bounce-signed", "smuggling", "quota",
    "restart-of-everything", "trace", "lock", "user-left", "summary", "ban", "gtube",
)
VICTIM, FORGER = "second@bigmail.test", "198.51.100.4"
FILTER = ["-e", json.dumps({"mail_filter": {"greylist": False}})]


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Iterator[light.Host]:
    found = light.Host(SUITE, MTA)
    with machine.inside_network():
        found.build(KEEP)
        yield found
    if not KEEP:
        load.testnet("destroy", found.name)


def changed(said: str) -> int:
    return int(re.search(r"changed=(\d+)", said.rpartition("PLAY RECAP")[2])[1])


def active(host: light.Host, *units: str) -> list[str]:
    """Return which of these units are active."""
    states = host.run(f"systemctl is-active {' '.join(units)}", check=False).split()
    return [unit for unit, state in zip(units, states) if state == "active"]


def verify(host: light.Host, tmp_path: Path, *promises: str, options: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    """Put promises to the host; return the status and the evidence of each."""
    mta = tmp_path / "mta.yml"
    mta.write_text(json.dumps({"scenario": {"vars": {"mail_mta": MTA}}}))
    paths = (load.ROOT / "tests/testnet/inventory.yml", light.INVENTORY, mta, *options)
    inventories = [word for path in paths for word in ("-i", str(path))]
    words = [load.ROOT / "tests/testnet/inside", load.ROOT / "tests/acceptance/verify", *inventories, "--report", str(tmp_path), host.name]
    subprocess.run([*words, *promises], capture_output=True, text=True, check=False)
    checks = json.loads((tmp_path / "report.json").read_text())["checks"]
    return {one["check"]: (one["status"], one["evidence"]) for one in checks}


def test_it_has_neither_filter_nor_store(host):
    assert host.run("dpkg-query -W -f '${Package} ' rspamd valkey-server redis-server 2>/dev/null || true").split() == []
    assert changed(host.site()) == 0


def test_its_services_fit_into_a_small_host(host, request):
    # Before anybody guesses passwords: Dovecot keeps processes that verify them.
    held = host.at_idle()
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        plugins.getplugin("terminalreporter").write("\n" + "\n".join([f"{host.name}, {host.mta}", *light.figures(held)]) + "\n")
    assert sum(held.values()) <= light.MAX_MEMORY, held


def test_it_keeps_the_promises_of_its_mta_and_of_dovecot(host, tmp_path):
    found = verify(host, tmp_path, *PROMISES)
    assert {name: one for name, one in found.items() if one[0] not in ("pass", "skipped", "unsupported")} == {}
    assert found["gtube"] == ("skipped", "mail_filter: false: nothing looks for spam, viruses or programs in mail")


@pytest.mark.skipif(MTA != "postfix", reason="smtpd's queue has no command that makes a message too old")
def test_what_waited_too_long_is_reported_to_no_stranger(host):
    host.run("systemctl stop dovecot")
    try:
        with smtplib.SMTP(host.address, 25, "home.client.test", source_address=(FORGER, 0)) as session:
            session.sendmail(VICTIM, [f"you@{host.domain}"], "From: someone@client.test\r\nSubject: late\r\n\r\nLate.\r\n")
        host.run("until postqueue -j | grep -q delay_reason; do sleep 0.2; done; postsuper -e ALL; postqueue -f; "
                 "until [ -z \"$(postqueue -j)\" ]; do sleep 0.2; done")
    finally:
        host.run("systemctl start dovecot")
    said = host.run(f"journalctl --no-pager -o cat -t postfix/cleanup -t postfix/smtp | grep -F {VICTIM} | tail -1")
    assert "discard: header To: " in said and "its sender is not proven" in said, said


def test_with_a_filter_that_signs_and_the_signer_is_stopped(host, tmp_path):
    host.site(*FILTER)
    assert active(host, "rspamd", "opendkim") == ["rspamd"]
    options = tmp_path / "filter.yml"
    options.write_text(json.dumps({"scenario": {"vars": {"mail_filter": {"greylist": False}}}}))
    found = verify(host, tmp_path, "out-signature", "gtube", "header-sender", options=(str(options),))
    assert {name: status for name, (status, _evidence) in found.items()} == dict.fromkeys(found, "pass"), found


def test_without_it_again_the_signer_signs_and_what_was_learnt_stays(host, tmp_path):
    store = "find /var/lib/valkey /var/lib/redis -name '*.aof' 2>/dev/null | wc -l"
    before = host.run(store)
    host.site()
    assert active(host, "rspamd", "valkey-server@rspamd", "redis-server@rspamd", "valkey-server", "redis-server") == []
    assert int(host.run(store)) == int(before) > 0
    assert changed(host.site()) == 0
    found = verify(host, tmp_path, "out-signature", "sieve-redirect", "no-backscatter")
    assert {name: status for name, (status, _evidence) in found.items()} == dict.fromkeys(found, "pass"), found
