# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Zone files, judged by the checkers of BIND and NSD and loaded by both servers."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest
import servers

from ansible_collections.postmaster.mail.plugins.module_utils._dns import files as zone_hosts

ZONE = "example.org"
LINES = (
    "; mail",
    "mail IN A 127.0.0.1 ; the mail server",
    "@ IN MX 10 mail",
    '@ IN TXT "v=spf1 -all" ; SPF',
    "  IN TXT verification",
)
RECORDS = [
    {"name": "@", "type": "TXT", "values": ["v=spf1 mx -all"], "owned_prefix": "v=spf1"},
    {"name": "s1._domainkey", "type": "TXT", "values": ["v=DKIM1; k=rsa; p=" + "A" * 700], "state": "exact"},
    {"name": "_25._tcp.mail", "type": "TLSA", "values": ["3 1 1 " + "ab" * 32]},
    {"name": "@", "type": "CAA", "values": ["0 issue letsencrypt.org"]},
    {"name": "text", "type": "TXT", "values": ['a "quoted" \\ text; more']},
]
CHECKERS = {
    "bind": ["named-checkzone", "-q", "{zone}", "{file}"],
    "nsd": ["nsd-checkzone", "{zone}", "{file}"],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "zones" / "db.example.org"
    path.parent.mkdir()
    path.write_text(servers.zone_text(ZONE, *LINES))
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    return path


@pytest.fixture
def args(file):
    return {"backend": "zone_file", "zone_file": str(file.parent / "db.{zone}"), "zone": ZONE, "records": RECORDS}


def test_without_a_choice_there_is_a_checker():
    assert shutil.which("named-checkzone", path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")
    assert shutil.which("nsd-checkzone", path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")


@pytest.mark.parametrize("checker", [None, "bind", "nsd"])
def test_check_do_again(run, file, args, checker, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
    args["check_command"] = CHECKERS.get(checker, [])
    before = file.read_text()
    predicted = run(**args, check=True)
    assert (predicted["changed"], file.read_text(), os.listdir(file.parent)) == (True, before, ["db.example.org"])
    done = run(**args)
    after = file.read_text()
    assert (done["changed"], done["diff"]) == (True, predicted["diff"])
    assert done["diff"] == [{"before_header": str(file), "after_header": str(file), "before": before, "after": after}]
    assert done["zones"] == [{"zone": ZONE, "file": str(file), "changed": True, "backup": None}]
    assert os.listdir(file.parent) == ["db.example.org"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    if os.geteuid() == 0:
        assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)
    for argv in CHECKERS.values():
        subprocess.run([word.format(zone=ZONE, file=file) for word in argv], check=True, capture_output=True)
    kept = [line for line in before.splitlines() if "SOA" not in line and "v=spf1" not in line]
    assert [line for line in after.splitlines() if line in kept] == kept
    assert '@ IN TXT "v=spf1 mx -all" ; SPF' in after
    again = run(**args)
    assert (again["changed"], again["diff"], file.read_text()) == (False, [], after)
    undone = run(**{**args, "records": [{**item, "state": "absent"} for item in RECORDS]})
    assert (undone["changed"], undone["records"][0]["after"]) == (True, ["verification"])


def test_what_a_replaced_spf_record_let_send_is_warned_of_once(run, file, args):
    file.write_text(file.read_text() + 'spf IN TXT "v=spf1 include:spf.example.net ~all"\n')
    given = {**args, "records": [{"name": "spf.example.org", "type": "TXT", "values": ["v=spf1 mx -all"], "owned_prefix": "v=spf1"}]}
    [warning] = run(**given)["warnings"]
    assert "'v=spf1 include:spf.example.net ~all' is replaced by one without 'include:spf.example.net'" in warning
    again = run(**given)
    assert (again["changed"], again.get("warnings", [])) == (False, [])


def test_backup_and_symbolic_link(run, file, args):
    before = file.read_text()
    link = file.parent.parent / "link"
    link.symlink_to(file)
    result = run(**{**args, "zone_file": None, "zone_files": {"Example.org.": str(link)}, "zone": None, "backup": True, "records": [
        {"name": "a.example.org", "type": "TXT", "values": ["a"]},
    ]})  # fmt: skip
    assert link.is_symlink()
    assert result["zones"][0]["file"] == str(file)
    with open(result["zones"][0]["backup"]) as stream:
        assert stream.read() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"check_command": ["false"]},
            "zone 'example.org': the new zone file {file} is refused by false (status 1)",
        ),
        ({"check_command": ["no-such-checker"]}, "zone 'example.org': no-such-checker: No such file or directory"),
        ({"zone_file": "/nowhere/db.{zone}"}, "zone 'example.org': zone file /nowhere/db.example.org: No such file or directory"),
        ({"zone_file": None}, "zone 'example.org': set zone_file or zone_files, so that it is known which file has the zone"),
        ({"zone_file": "relative"}, None),
        ({"zone": "example.net"}, None),
    ],
)
def test_a_refusal_leaves_the_file_alone(run, file, args, change, message):
    before = file.read_bytes()
    result = run(**{**args, **change})
    assert (result["failed"], result.get("changed", False), file.read_bytes()) == (True, False, before)
    assert os.listdir(file.parent) == ["db.example.org"]
    if message is not None:
        assert result["msg"] == message.format(file=file)


def test_aliases_are_followed_within_the_file(run, file, args):
    file.write_text(file.read_text() + 'keys TXT "v=DKIM1;p=AAAA"\nhop CNAME keys\n_dmarc CNAME keys\ns1._domainkey CNAME hop\n')
    args["records"] = [
        {"name": "@", "type": "TXT", "values": ["v=spf1 mx -all"], "owned_prefix": "v=spf1"},
        {"name": "s1._domainkey", "type": "TXT", "values": ["v=DKIM1;p=AAAA"], "state": "exact"},
        {"name": "_dmarc", "type": "TXT", "values": ["v=DMARC1; p=none"], "owned_prefix": "v=DMARC1"},
    ]
    result = run(**args)
    assert (result["failed"], result["changed"], [record["action"] for record in result["records"]]) == (
        True, True, ["replace", "none", "none"]
    )  # fmt: skip
    assert result["msg"] == (
        "_dmarc.example.org TXT: there is a CNAME to keys.example.org., where there is 'v=DKIM1;p=AAAA': "
        "publish 'v=DMARC1; p=none' there, remove the CNAME, or do without the record"
    )
    assert "v=spf1 mx -all" in file.read_text()


@pytest.mark.parametrize("program", ["named-checkzone", "nsd-checkzone"])
def test_a_server_that_reads_something_else_is_believed(run, file, args, program, tmp_path, monkeypatch):
    """As if the program of another version read a line in its own way."""
    programs = tmp_path / "programs"
    programs.mkdir()
    real = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    (programs / program).write_text(f"#!/bin/sh\n{real} \"$@\" | sed s/verification/lost/\n")
    (programs / program).chmod(0o755)
    before = file.read_bytes()
    fakes = [([str(programs / program), *argv[1:]], printing) for argv, printing in zone_hosts._CHECKERS if argv[0] == program]
    monkeypatch.setattr(zone_hosts, "_CHECKERS", fakes)
    result = run(**{**args, "records": [{"name": "@", "type": "TXT", "values": ["another"], "ttl": 3600}]})
    assert result["msg"] == (
        f"zone 'example.org': {file}: as {program} reads the new file, TXT at example.org is not what was meant: "
        '3600 TXT "another"; 3600 TXT "lost"; 3600 TXT "v=spf1 -all"; nothing was written'
    )
    assert (file.read_bytes(), os.listdir(file.parent)) == (before, ["db.example.org"])


def test_a_name_that_bind_may_generate_is_not_called_absent(run, file, args):
    file.write_text(file.read_text() + "$GENERATE 1-3 host-$ TXT x\n")
    for name in ("host-2", "host-2.example.org"):
        result = run(**{**args, "records": [{"name": name, "type": "TXT", "state": "absent"}]})
        assert "'host-2.example.org' may come out of this $GENERATE line" in result["msg"]


def test_what_a_real_checker_refuses(run, file, args):
    before = file.read_bytes()
    result = run(**{**args, "records": [{"name": "@", "type": "MX", "values": ["20 nowhere.example.org"]}]})
    if result.get("failed"):
        assert "named-checkzone" in result["msg"]
        assert file.read_bytes() == before
    else:  # a warning for this checker
        assert result["changed"] is True


def test_a_zone_that_bind_writes_itself_is_refused(run, file, args):
    (file.parent / "db.example.org.jnl").touch()
    result = run(**args)
    assert result["msg"] == (
        f"zone 'example.org': {file}.jnl is the journal of a zone that BIND itself writes to this file: publish by backend=rfc2136, "
        "or make the zone static"
    )


def test_a_change_by_somebody_else_in_between_is_kept(run, file, args, tmp_path):
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho '; a comment' >> {file}\n")
    slow.chmod(0o755)
    result = run(**{**args, "check_command": [str(slow)]})
    assert result["msg"] == f"zone 'example.org': {file} was changed by somebody else in between; nothing was written; run again"
    assert file.read_text() == servers.zone_text(ZONE, *LINES) + "; a comment\n"


def test_a_zone_that_is_not_loaded_is_tried_again(run, tmp_path, daemons):
    port = servers.free_port()
    server = servers.Named(tmp_path / "bind", "127.0.0.1", port, {ZONE: (servers.zone_text(ZONE, *LINES), "type primary;")}, ipv6="::1")
    daemons.append(server)
    server.start(ZONE)
    file = server.directory / f"{ZONE}.zone"
    file.chmod(0o640)
    before, names = file.read_bytes(), set(os.listdir(server.directory))
    reload = tmp_path / "reload"
    args = {"backend": "zone_file", "zone_file": str(file), "zone": ZONE, "records": RECORDS, "reload_command": [str(reload)],
            "backup": True, "nameservers": ["127.0.0.1"], "nameserver_port": port, "authoritative_port": port, "wait": True,
            "wait_timeout": 20}  # fmt: skip
    back = "; the former one is back in its place; run again"
    missing = run(**args)
    assert missing["msg"] == f"zone 'example.org': {reload}: No such file or directory{back}"
    reload.write_text("#!/bin/sh\necho rndc: connect failed >&2\nexit 1\n")
    reload.chmod(0o755)
    failed = run(**args)
    assert failed["msg"] == (
        f"zone 'example.org': the new zone file {file} is not loaded by reload (status 1): rndc: connect failed{back}"
    )
    assert (failed["failed"], failed["changed"], failed["diff"]) == (True, False, [])
    assert failed["zones"] == [{"zone": ZONE, "file": str(file), "changed": False, "backup": None}]
    assert {record["action"] for record in failed["records"]} == {"none"}
    assert (file.read_bytes(), set(os.listdir(server.directory))) == (before, names)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    reload.write_text(f"#!/bin/sh\nkill -HUP {server.process.pid}\n")
    done = run(**args)
    assert (done.get("failed"), done["changed"]) == (None, True), done
    assert all(record["served"] for record in done["records"])
    assert run(**args)["changed"] is False


def test_a_change_by_what_fails_to_load_is_kept(run, file, args, tmp_path):
    script = tmp_path / "reload"
    script.write_text(f"#!/bin/sh\necho '; a comment' >> {file}\nexit 3\n")
    script.chmod(0o755)
    result = run(**args, reload_command=[str(script)])
    assert result["msg"] == (
        f"zone 'example.org': the new zone file {file} is not loaded by reload (status 3); "
        "it was changed by somebody else in between and stays; load it by hand"
    )
    assert file.read_text().endswith("; a comment\n")
    assert "v=spf1 mx -all" in file.read_text()


def test_an_included_file(run, file, args):
    (file.parent / "more").write_text("_dmarc IN TXT old\n")
    file.write_text(file.read_text() + "$INCLUDE more\n")
    assert run(**args, check=True)["changed"] is True
    assert run(**args)["changed"] is True
    result = run(**{**args, "records": [{"name": "_dmarc", "type": "TXT", "values": ["v=DMARC1; p=none"]}]})
    assert result["msg"] == (
        f"zone 'example.org': {file}: TXT at _dmarc.example.org stands in the included file 'more', line 1: edit it there"
    )


@pytest.mark.parametrize("kind", ["bind", "nsd"])
def test_loaded_and_served(run, tmp_path, daemons, kind):
    port = servers.free_port()
    text = servers.zone_text(ZONE, *LINES)
    if kind == "bind":
        server = servers.Named(tmp_path / kind, "127.0.0.1", port, {ZONE: (text, "type primary;")}, ipv6="::1")
    else:
        server = servers.Nsd(tmp_path / kind, "127.0.0.1", port, {ZONE: text})
    daemons.append(server)
    server.start(ZONE)
    result = run(
        backend="zone_file",
        zone_file=str(server.directory / "{zone}.zone"),
        zone=ZONE,
        records=RECORDS,
        reload_command=["kill", "-HUP", str(server.process.pid)],
        nameservers=["127.0.0.1"],
        nameserver_port=port,
        authoritative_port=port,
        wait=True,
        wait_timeout=20,
    )
    assert (result.get("failed"), result["changed"]) == (None, True), result
    assert all(record["served"] for record in result["records"])
    assert [(entry["address"], entry["status"]) for entry in result["served"]] == [("127.0.0.1", "ok"), ("::1", "ok")]


def test_no_dnspython_is_needed_where_nobody_is_asked(run, file, args, monkeypatch):
    from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client

    monkeypatch.setattr(dns_client, "HAS_DNSPYTHON", False)
    assert run(**args)["changed"] is True
    result = run(**args, wait=True)
    assert result["failed"] is True
    assert "dnspython" in result["msg"]
