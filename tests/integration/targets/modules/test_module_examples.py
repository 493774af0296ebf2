# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples in the modules' documentation, as they stand there, on a host of the test network.

Against BIND, Postfix with its postmap, Rspamd and Unbound from Debian's packages, and the fake of Mailman 2.1.
"""

from __future__ import annotations

import re

import pytest
from player import examples

TREES = {
    "rspamd": {
        "etc/rspamd/local.d/worker-controller.inc.j2": 'password = "none";\n',
        "etc/rspamd/local.d/greylist.conf": "enabled = false;\n",
    },
    "resolver": {"etc/unbound/unbound.conf.d/port.conf": "server:\n  port: 5353\n"},
}


@pytest.mark.parametrize(
    ("module", "changes", "again"),
    [
        ("dkim_keypair", 3, 0),
        ("dkim_keyring", 1, 0),
        ("dns_records", 3, 0),
        ("dns_txt_record", 1, 0),
        ("tls_certificate", 2, 0),
        # One example closes the lists and the next one opens them again.
        ("mailman_harden", 7, 2),
    ],
)
def test_examples_run_and_change_nothing_more_when_they_run_again(play, module, changes, again):
    done, changed = play.examples(module)
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed == changes, done.stdout
    done, changed = play.examples(module)
    assert (done.returncode, changed) == (0, again), done.stdout + done.stderr


def test_what_the_examples_of_the_dns_modules_publish(play):
    """dig at the server that took the updates, and at the one that has the zone file and was told to load it."""
    ask = "dig +short @{} {} {} | sort"
    assert play.run(ask.format("198.51.100.2", "example.org", "TXT")).splitlines() == ['"v=spf1 mx -all"']
    assert play.run(ask.format("198.51.100.2", "_submissions._tcp.example.org", "SRV")) == "0 1 465 mail.example.org.\n"
    assert play.run(ask.format("127.0.0.1", "example.org", "TXT")).splitlines() == ['"v=spf1 mx -all"', '"verification"']


def test_examples_of_rdns_verify(play):
    """Those of dns_records publish what is looked at."""
    done, changed = play.examples("dns_records", "rdns_verify")
    assert (done.returncode, changed) == (0, 0), done.stdout + done.stderr
    assert "198.51.100.25 at zen.spamhaus.org: see the page https://check.spamhaus.org/listed/?searchterm=198.51.100.25" in done.stdout


def test_mailman_and_postmap_do_what_the_examples_say(play):
    ask = "for end in '' -confirm -join -owner -request; do postmap -q news$end@lists.example.org {}; done; true"
    assert play.run(ask.format("hash:/var/lib/mailman/data/virtual-mailman")).splitlines() == ["news", "news-owner", "news-request"]
    for table in ("mailman_commands", "tables/refused"):
        refused = play.run(ask.format(f"regexp:/etc/postfix/{table}")).splitlines()
        assert [line.partition(" ")[0] for line in refused] == ["550", "550"], "join and request"


def test_examples_of_config_tree(play):
    for name, task in zip(TREES, examples("config_tree")):
        play.role(name, task, TREES[name])
    for changes in (3, 0):  # two trees and a restart, then nothing
        done, changed = play.examples(roles=TREES)
        assert (done.returncode, changed) == (0, changes), done.stdout + done.stderr
    assert play.run("rspamadm configdump trusted >/dev/null; cat /etc/rspamd/local.d/maps/trusted.map") == "198.51.100.0/24\n"
    assert play.run("unbound-checkconf -o port") == "5353\n"


def test_examples_of_mail_verify(play):
    """This host passes few checks, and the last example says so. A server that passes all is what Molecule's scenarios build."""
    done, _changed = play.examples("mail_verify")
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(r"assertion: verified.summary.fail == 0\n +changed: false\n +evaluated_to: false", done.stdout), done.stdout
