# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

sys.path.insert(0, str(Path(__file__).parent))
import servers

MODULES = "ansible_collections.postmaster.mail.plugins.modules"


@pytest.fixture
def run(capsys, tmp_path):
    """Run a module as Ansible does, in this process; return its result. A failure has ``failed``."""

    def call(module="dns_records", check=False, **args):
        args = {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": str(tmp_path), **args}
        capsys.readouterr()
        warnings._global_warnings.clear()  # those of earlier calls in this process
        with patch_module_args(args), pytest.raises(SystemExit):
            importlib.import_module(f"{MODULES}.{module}").main()
        result = json.loads(capsys.readouterr().out)
        result.pop("invocation", None)
        # ansible-core 2.19 and later wrap a module's warnings.
        result["warnings"] = [warning if isinstance(warning, str) else warning["event"]["msg"] for warning in result.get("warnings", [])]
        return result

    return call


@pytest.fixture
def daemons():
    """Collect started daemons and stop them at the end."""
    started: list[servers.Daemon] = []
    yield started
    for daemon in started:
        daemon.stop()


ZONE = "example.org"
TEXT = servers.zone_text(
    ZONE,
    "mail IN A 127.0.0.1",
    "www IN CNAME mail",
    "old IN TXT one",
    "old IN TXT two",
    'split IN TXT "v=DKIM1; " "p=AAAA"',
    "*.wild IN TXT made-up",
    "*.wildalias IN CNAME mail",
    "sub IN NS ns.sub",
    "ns.sub IN A 127.0.0.1",
    "@ IN TXT verification",
)


@pytest.fixture(params=["bind", "knot"])
def primary(request, daemons, tmp_path):
    """A primary server of example.org that the key mail-update may change, BIND and Knot in turn."""
    port = servers.free_port()
    if request.param == "bind":
        policy = f'type primary; allow-update {{ key "{servers.KEYS[0]}"; }};'
        server = servers.Named(tmp_path / "bind", "127.0.0.1", port, {ZONE: (TEXT, policy)}, ipv6="::1")
    else:
        server = servers.Knot(tmp_path / "knot", "127.0.0.1", port, {ZONE: TEXT})
    daemons.append(server)
    server.start(ZONE)
    server.kind = request.param
    return server


@pytest.fixture
def to(primary):
    """The options that lead to the primary server."""
    return {"server": primary.address, "port": primary.port, "tsig_name": servers.KEYS[0], "tsig_secret": servers.SECRET}
