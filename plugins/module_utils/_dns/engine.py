# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one engine of dns_records and dns_txt_record: check, read, plan, write, read again, wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns import update as dns_update
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wait as dns_wait
from ansible_collections.postmaster.mail.plugins.module_utils._dns import zone_file
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Resolver, Server, Unreachable
from ansible_collections.postmaster.mail.plugins.module_utils._dns.files import Loaded, ZoneFiles
from ansible_collections.postmaster.mail.plugins.module_utils._dns.plan import Wanted
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import TYPES
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import Change, RRset
from ansible_collections.postmaster.mail.plugins.module_utils._dns.update import Primary
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import ip_address
from ansible_collections.postmaster.mail.plugins.module_utils._records import dmarc, mx, spf

_MAX_PRIMARIES = 16


def argument_spec(txt_only: bool = False) -> dict[str, Any]:
    """Return the options of the modules; the documentation is in the fragment ``dns``."""
    item: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "zone": {"type": "str"},
        "values": {"type": "list", "elements": "str"},
        "ttl": {"type": "int"},
        "state": {"type": "str", "choices": list(dns_plan.STATES)},
        "owned_prefix": {"type": "str"},
        "may_drop": {"type": "list", "elements": "str"},
    }
    spec: dict[str, Any] = {
        "name": {"type": "str"},
        "zone": {"type": "str"},
        "values": {"type": "list", "elements": "str", "default": []},
        "ttl": {"type": "int", "default": 3600},
        "state": {"type": "str", "choices": list(dns_plan.STATES), "default": "present"},
        "owned_prefix": {"type": "str"},
        "records": {"type": "list", "elements": "dict", "options": item},
        "txt_encoding": {"type": "str", "choices": ["ascii", "utf-8"], "default": "ascii"},
        "backend": {"type": "str", "choices": ["rfc2136", "zone_file", "none"], "default": "rfc2136"},
        "server": {"type": "str"},
        "port": {"type": "int", "default": 53},
        "tsig_name": {"type": "str"},
        "tsig_algorithm": {"type": "str", "choices": list(dns_update.ALGORITHMS), "default": "hmac-sha256"},
        "tsig_secret": {"type": "str", "no_log": True},
        "sign_queries": {"type": "bool", "default": False},
        "timeout": {"type": "float", "default": 10.0},
        "zone_file": {"type": "path"},
        "zone_files": {"type": "dict", "default": {}},
        "check_command": {"type": "list", "elements": "str", "default": []},
        "reload_command": {"type": "list", "elements": "str", "default": []},
        "backup": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": False},
        "wait_timeout": {"type": "float", "default": 120.0},
        "on_timeout": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
        "nameservers": {"type": "list", "elements": "str", "default": []},
        "nameserver_port": {"type": "int", "default": 53},
        "authoritative_port": {"type": "int", "default": 53},
    }
    if not txt_only:
        item["type"] = {"type": "str", "choices": list(TYPES), "required": True}
        spec["type"] = {"type": "str", "choices": list(TYPES)}
    return spec


def constraints(txt_only: bool = False) -> dict[str, Any]:
    """Return the rules between the options, for AnsibleModule."""
    return {
        "required_one_of": [("name", "records")],
        "mutually_exclusive": [("name", "records")],
        "required_together": [("tsig_name", "tsig_secret")],
        "required_by": {} if txt_only else {"name": ("type",)},
    }


def items(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the batch as a list of complete items: what an item leaves out is taken from the option of the same name."""
    single = {key: params.get(key) for key in ("name", "zone", "type", "values", "ttl", "state", "owned_prefix")}
    batch = [single] if params["records"] is None else params["records"]
    return [
        {
            "name": item["name"],
            "type": item.get("type") or "TXT",
            "zone": item["zone"] or params["zone"],
            "values": params["values"] if item["values"] is None else item["values"],
            "ttl": params["ttl"] if item["ttl"] is None else item["ttl"],
            "state": item["state"] or params["state"],
            "owned_prefix": params["owned_prefix"] if item["owned_prefix"] is None else item["owned_prefix"],
            "may_drop": item.get("may_drop"),
        }
        for item in batch
    ]


@dataclass
class RunReport:
    """What a run found and did. ``errors`` make the task fail, after everything else was done."""

    changes: list[Change] = field(default_factory=list)
    zones: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed_zones: set[str] = field(default_factory=set)
    failed_records: set[tuple[str, str]] = field(default_factory=set)
    diff: Any = None


def needs_dnspython(params: Mapping[str, Any]) -> bool:
    """Whether anybody has to be asked; editing a zone file whose zone is known needs nobody."""
    known = bool(params["zone_files"]) or all(item["zone"] for item in items(params))
    return params["backend"] != "zone_file" or params["wait"] or not known


def run(params: Mapping[str, Any], check_mode: bool, module: Any = None) -> dict[str, Any]:
    """Do what the options of the module say and return its result; ``errors`` in it is not empty if it failed.

    ``module`` is the AnsibleModule, whose file functions ``backend=zone_file`` uses.

    :raises MailError: whatever is found before anything is changed
    """
    for key in ("port", "nameserver_port", "authoritative_port"):
        if not 0 < params[key] < 65536:
            raise MailError(f"{key} {params[key]} is not a port from 1 to 65535")
    for key in ("timeout", "wait_timeout"):
        if params[key] < 0 or (key == "timeout" and params[key] == 0):
            raise MailError(f"{key} {params[key]} is not a number of seconds above 0")
    nameservers = [str(ip_address(address, "nameservers")) for address in params["nameservers"]]
    batch = dns_plan.wanted_records(items(params), params["txt_encoding"])
    dns_plan.check_batch(batch)
    run_ = _Run(params, check_mode, nameservers)
    if params["backend"] == "none":
        return run_.observe(batch)
    if params["backend"] == "zone_file":
        return run_.edit(batch, ZoneFiles(module, params, check_mode))
    return run_.publish(batch)


def outcome(params: Mapping[str, Any], check_mode: bool, module: Any = None) -> dict[str, Any]:
    """Like ``run``, and return what a module exits with: ``failed`` and ``msg`` where something is wrong."""
    try:
        result = run(params, check_mode, module)
    except MailError as exc:
        return {"failed": True, "msg": str(exc)}
    errors = result.pop("errors")
    if errors:
        result.update(failed=True, msg="; ".join(errors))
    return result


class _Run:
    def __init__(self, params: Mapping[str, Any], check_mode: bool, nameservers: Sequence[str]) -> None:
        self.params = params
        self.check_mode = check_mode
        self._nameservers = nameservers
        self._resolver: Resolver | None = None

    @property
    def resolver(self) -> Resolver:
        if self._resolver is None:
            self._resolver = Resolver(self._nameservers, self.params["nameserver_port"])
        return self._resolver

    # Look only.

    def observe(self, batch: list[Wanted]) -> dict[str, Any]:
        walked = self.resolver.zones({item.name for item in batch if item.zone is None})
        lost = {name: error for name, error in walked.items() if isinstance(error, Unreachable)}
        known = [item for item in batch if item.zone is not None or item.name not in lost]
        known = dns_plan.in_zones(known, {name: zone for name, zone in walked.items() if name not in lost})
        servers = dns_wait.authorities(self.resolver, (item.zone for item in known), self.params["authoritative_port"])
        report = RunReport(zones=[{"zone": zone, "changed": False} for zone in dict.fromkeys(item.zone for item in known)])
        self._see(known, servers, report, self.params["wait"])
        entries = [entry.result() for entry in servers]
        for name, error in sorted(lost.items()):
            entries.append(dns_wait.Authority(None, None, None, "unknown", f"{name}: {error}").result())
        records, zones = [], dns_wait.by_zone(servers)
        for group in _groups([*known, *(item for item in batch if item.zone is None and item.name in lost)]):
            zone, key = group[0].zone, group[0].key
            there = next((entry.found[key] for entry in zones.get(zone, ()) if key in entry.found), RRset())
            served = zone is not None and all(dns_wait.served(item, zones) for item in group)
            records.append(_record(Change(zone, *key, there, there), group, served, zones.get(zone, ())))
            report.warnings += _sender_warnings(records[-1], group)
        return self._result(report, records, entries)

    # Change.

    def publish(self, batch: list[Wanted]) -> dict[str, Any]:
        primaries = self._primaries(batch)
        batch = [item for _primary, group in primaries for item in group]
        with ThreadPoolExecutor(max_workers=min(len(primaries), _MAX_PRIMARIES)) as pool:
            # Everything is read and planned before the first octet is written: an error here leaves all zones alone.
            report = RunReport()
            plans = list(pool.map(lambda pair: self._plan(*pair, report), primaries))
            report.changes = [change for changes in plans for change in changes]
            _keep_senders(batch, report.changes)
            jobs = [(primary, _by_zone(changes)) for (primary, _group), changes in zip(primaries, plans)]
            for _primary, zones in jobs:  # too large to send is found before anything is sent, too
                for zone, changes in zones.items():
                    parts = len(dns_plan.messages(change for change in changes if change.changed))
                    if parts > 1:
                        report.warnings.append(
                            f"zone {zone!r}: the changes are too large for one DNS message and go in {parts}; "
                            "each is atomic, all together are not"
                        )
            for entries, errors in pool.map(lambda job: self._write(*job), jobs):
                report.zones += entries
                report.errors += dns_plan.told_once(errors)
                report.failed_zones |= set(errors)
        return self._finish(batch, report)

    def edit(self, batch: list[Wanted], files: ZoneFiles) -> dict[str, Any]:
        batch = dns_plan.in_zones(batch, self._file_zones(batch, files))
        loaded: dict[str, Loaded] = {}
        report = RunReport(diff=[])
        for item in batch:
            if item.zone not in loaded:
                loaded[item.zone] = files.load(item.zone)
        today = int(time.strftime("%Y%m%d"))
        texts = {}
        planned = _by_zone(self._plan_files(batch, loaded, report))
        _keep_senders(batch, [change for changes in planned.values() for change in changes])
        for zone, changes in planned.items():
            report.changes += changes
            try:
                texts[zone] = zone_file.edit(loaded[zone].file, changes, today)
            except MailError as exc:
                raise MailError(f"zone {zone!r}: {loaded[zone].path}: {exc}") from exc
        for zone, text in texts.items():
            path, before = loaded[zone].path, loaded[zone].file.text
            entry = {"zone": zone, "file": path, "changed": False, "backup": None}
            report.zones.append(entry)
            if text == before:
                continue
            try:
                entry["backup"] = files.replace(zone, loaded[zone], text, planned[zone])
            except MailError as exc:
                report.errors.append(str(exc))
                report.failed_zones.add(zone)
                continue
            entry["changed"] = True
            sides = (side.encode("latin-1").decode("utf-8", "backslashreplace") for side in (before, text))
            report.diff.append({"before_header": path, "after_header": path, **dict(zip(("before", "after"), sides))})
        return self._finish(batch, report)

    def _file_zones(self, batch: list[Wanted], files: ZoneFiles) -> dict[str, str]:
        zones: dict[str, str] = {}
        for item in batch:
            zone = next((zone for zone in _above(item.name) if zone in files.named), None)
            if item.zone is None and zone is not None:
                zones[item.name] = zone
        left = {item.name for item in batch if item.zone is None and item.name not in zones}
        if left:
            for name, zone in self.resolver.zones(left).items():
                if isinstance(zone, Unreachable):
                    raise MailError(f"{name}: {zone}")
                zones[name] = zone
        return zones

    def _plan_files(self, batch: list[Wanted], loaded: Mapping[str, Loaded], report: RunReport) -> list[Change]:
        rrsets, others = {}, {}
        for item in batch:
            file = loaded[item.zone].file
            try:
                zone_file.check_authority(file, item.name)
            except MailError as exc:
                raise MailError(f"zone {item.zone!r}: {loaded[item.zone].path}: {exc}") from exc
            rrsets[item.key] = file.rrset(*item.key)
            rrsets[item.name, "CNAME"] = file.rrset(item.name, "CNAME")
            if item.type == "CNAME":
                others[item.name] = file.types(item.name)
        files = {zone: entry.file for zone, entry in loaded.items()}
        return self._plan_around_aliases(batch, rrsets, others, report, lambda pair: zone_file.behind(files, *pair))

    def _primaries(self, batch: list[Wanted]) -> list[tuple[Primary, list[Wanted]]]:
        params = self.params
        key = None
        if params["tsig_name"]:
            key = dns_update.tsig_key(params["tsig_name"], params["tsig_algorithm"], params["tsig_secret"])
        nameless = {item.name for item in batch if item.zone is None}

        def primary(hosts: Iterable[str]) -> Primary:
            return Primary(_reachable(hosts, params["port"], params["timeout"]), key, params["timeout"], params["sign_queries"])

        if params["server"]:
            resolver = self.resolver if self._nameservers else None
            one = primary(dns_client.host_addresses(params["server"], resolver))
            return [(one, dns_plan.in_zones(batch, one.zones(nameless) if nameless else {}))]
        walked = self.resolver.zones(nameless)
        for name, zone in walked.items():
            if isinstance(zone, Unreachable):
                raise MailError(f"{name}: {zone}")
        batch = dns_plan.in_zones(batch, walked)
        zones = list(dict.fromkeys(item.zone for item in batch))
        replies = self.resolver.ask((zone, "SOA") for zone in zones)
        masters: dict[str, list[str]] = {}
        for zone in zones:
            reply = replies[zone, "SOA"]
            if isinstance(reply, Unreachable):
                raise MailError(f"zone {zone!r}: its primary server is not known: {reply}; set server")
            names = [record.target for record in reply.answer if record.type == "SOA"]
            if not names:
                raise MailError(f"zone {zone!r} has no SOA record, so it does not exist for this resolver; set server")
            masters.setdefault(names[0], []).append(zone)
        addresses = self.resolver.addresses(masters)
        host_of = {zone: host for host, mine in masters.items() for zone in mine}
        items: dict[str, list[Wanted]] = {}
        for item in batch:
            items.setdefault(host_of[item.zone], []).append(item)
        primaries = []
        for host, mine in masters.items():
            try:
                known = dns_client.known(addresses[host], f"its primary server {host!r} (SOA MNAME)")
            except MailError as exc:
                raise MailError(f"zone {mine[0]!r}: {exc}; set server") from exc
            primaries.append((primary(known), items[host]))
        return primaries

    def _plan(self, primary: Primary, batch: list[Wanted], report: RunReport) -> list[Change]:
        rrsets, others = primary.read({item.key: item.zone for item in batch})
        return self._plan_around_aliases(batch, rrsets, others, report)

    def _plan_around_aliases(
        self,
        batch: list[Wanted],
        rrsets: Mapping[tuple[str, str], RRset],
        others: Mapping[str, set[str]],
        report: RunReport,
        known: Callable[[tuple[str, str]], RRset | None] = lambda _pair: None,
    ) -> list[Change]:
        """Plan what is not wanted at an alias; what is, must be behind it, and fails alone if it is not.

        :param known: what is behind an alias without asking anybody; None if it does not know
        """
        aliases = dns_plan.aliases(batch, rrsets)
        changes = {change.key: change for change in dns_plan.plan([item for item in batch if item.key not in aliases], rrsets, others)}
        targets = {key: (target, key[1]) for key, target in aliases.items()}
        # What this batch itself makes of a target need not be served yet.
        behind = {target: changes[target].after if target in changes else known(target) for target in targets.values()}
        behind = {target: rrset for target, rrset in behind.items() if rrset is not None}
        behind.update(self._behind(target for target in targets.values() if target not in behind))
        for group in _groups(item for item in batch if item.key in aliases):
            key = group[0].key
            there = behind[targets[key]]
            error = dns_plan.behind_alias(group, aliases[key], there)
            if error:
                report.errors.append(error)
                report.failed_records.add(key)
            there = RRset() if isinstance(there, MailError) else there
            changes[key] = Change(group[0].zone, *key, there, there)
        return [changes[key] for key in dict.fromkeys(item.key for item in batch)]

    def _behind(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], RRset | MailError]:
        """Look up what is behind aliases."""
        pairs = list(pairs)
        if not pairs:
            return {}
        if not dns_client.HAS_DNSPYTHON and not self._nameservers:
            return dict.fromkeys(pairs, MailError("dnspython, which looks that up, is not installed"))
        try:
            return self.resolver.behind(pairs)
        except MailError as exc:  # this host has no resolver
            return dict.fromkeys(pairs, exc)

    def _write(self, primary: Primary, zones: Mapping[str, list[Change]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        todo = {zone: [change for change in changes if change.changed] for zone, changes in zones.items()}
        if self.check_mode:
            sent = {zone: len(dns_plan.messages(changes)) for zone, changes in todo.items()}
            errors = primary.probe(todo)
        else:
            sent, errors = primary.write(todo)
        entries = []
        for zone in zones:
            changed = bool(sent.get(zone)) and not (self.check_mode and zone in errors)
            entries.append({"zone": zone, "server": str(primary), "changed": changed, "messages": sent.get(zone, 0)})
        return entries, errors

    # Both.

    def _finish(self, batch: list[Wanted], report: RunReport) -> dict[str, Any]:
        servers: list[dns_wait.Authority] = []
        if self.params["wait"]:
            seen = [item for item in batch if item.zone not in report.failed_zones and item.key not in report.failed_records]
            servers = dns_wait.authorities(self.resolver, (item.zone for item in seen), self.params["authoritative_port"])
            self._see(seen, servers, report, not self.check_mode)
        changes = {change.key: change for change in report.changes}
        records, zones = [], dns_wait.by_zone(servers)
        for group in _groups(batch):
            served = all(dns_wait.served(item, zones) for item in group) if self.params["wait"] else None
            zone = group[0].zone
            failed = zone in report.failed_zones or group[0].key in report.failed_records
            records.append(_record(changes[group[0].key], group, served, zones.get(zone, ()), failed))
            report.warnings += _sender_warnings(records[-1], group)
        return self._result(report, records, [entry.result() for entry in servers])

    def _see(self, batch: list[Wanted], servers: list[dns_wait.Authority], report: RunReport, patient: bool) -> None:
        if not batch:
            return
        if not patient:
            dns_wait.look(batch, servers, behind=self._behind)
            return
        start = time.monotonic()

        def again(zones: list[str | None]) -> list[dns_wait.Authority]:
            return dns_wait.authorities(self.resolver, zones, self.params["authoritative_port"])

        if not dns_wait.wait(batch, servers, self.params["wait_timeout"], again=again, behind=self._behind):
            bad = [entry for entry in servers if entry.status != "ok"]
            words = "; ".join(f"{entry}: {entry.reason}" for entry in bad[:5])
            text = f"after {int(time.monotonic() - start)} s not every authoritative server serves the records: {words}"
            text += f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
            (report.errors if self.params["on_timeout"] == "fail" else report.warnings).append(text)

    def _result(self, report: RunReport, records: list[dict[str, Any]], served: list[dict[str, Any]]) -> dict[str, Any]:
        good = [change for change in report.changes if change.zone not in report.failed_zones]
        return {
            "changed": any(record["changed"] for record in records) or any(zone["changed"] for zone in report.zones),
            "records": records,
            "missing": [entry for record in records for entry in record.pop("_missing")],
            "zones": report.zones,
            "served": served,
            "diff": report.diff if report.diff is not None else dns_plan.diff(good),
            "errors": report.errors,
            "warnings": report.warnings,
        }


def _above(name: str) -> Iterator[str]:
    """The zones that a name can be in, the closest first."""
    while name:
        yield name
        name = name.partition(".")[2]


def _groups(batch: Iterable[Wanted]) -> list[list[Wanted]]:
    groups: dict[tuple[str, str], list[Wanted]] = {}
    for item in batch:
        groups.setdefault(item.key, []).append(item)
    return list(groups.values())


def _by_zone(changes: Iterable[Change]) -> dict[str, list[Change]]:
    zones: dict[str, list[Change]] = {}
    for change in changes:
        zones.setdefault(change.zone, []).append(change)
    return zones


def _record(
    change: Change, group: list[Wanted], served: bool | None, servers: Sequence[dns_wait.Authority], failed: bool = False
) -> dict[str, Any]:
    action = "none"
    if change.changed and not failed:
        action = "ttl"
        if change.values_changed:
            action = "replace" if change.before.values and change.after.values else "create" if change.after.values else "delete"
    return {
        "name": change.name,
        "zone": change.zone,
        "type": change.type,
        "before": change.before.texts,
        "after": change.before.texts if failed else change.after.texts,
        "ttl_before": change.before.ttl,
        "ttl_after": change.before.ttl if failed else change.after.ttl,
        "changed": change.changed and not failed,
        "action": action,
        "served": served,
        "_missing": [] if served is not False else [entry for item in group for entry in _missing(item, servers)],
    }


def _keep_senders(batch: Iterable[Wanted], changes: Iterable[Change]) -> None:
    """Refuse to replace SPF records that let others send, and MX records that lead to others, unless the batch says that they may go.

    :raises MailError: with all of them, before anything is changed
    """
    found, there = [], {change.key: change for change in changes}
    for item in batch:
        change = there.get(item.key)
        if item.may_drop is not None and change is not None:
            found += _undeclared(item, change.before.texts, change.after.texts)
    if found:
        raise MailError("; ".join([*found, "nothing has been changed"]))


def _undeclared(item: Wanted, before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Return a sentence for each thing that others have and lose, and that ``may_drop`` does not name."""
    if item.type == "MX":
        # Another preference is no loss.
        remaining = {mx.host(value) for value in after}
        return mx.undeclared(item.name, (value for value in before if mx.host(value) not in remaining), item.may_drop or ())
    removed = sorted(set(before) - set(after))
    return spf.undeclared(item.name, removed, [value.text for value in item.values], item.may_drop or ())


def _sender_warnings(record: Mapping[str, Any], group: list[Wanted]) -> list[str]:
    """Warn of an SPF or DMARC record that goes, or has to be taken out by hand, and lets others send that ours does not; and of MX
    records that lead to others."""
    if record["type"] == "MX":
        values = [value.text for item in group for value in item.values]
        return [line for item in group if item.may_drop is not None for line in _undeclared(item, record["before"], values)]
    if record["type"] != "TXT":
        return []
    removed = set(record["before"]) - set(record["after"])
    removed.update(value for entry in record["_missing"] for value in entry["remove"])
    values = [value.text for item in group if item.state != "absent" for value in item.values]
    return spf.replaced(record["name"], sorted(removed), values) + dmarc.replaced(record["name"], sorted(removed), values)


def _missing(item: Wanted, servers: Sequence[dns_wait.Authority]) -> list[dict[str, Any]]:
    """Return what some server lacks, or has too much; everything that is wanted if none could be asked."""
    looks = [entry.found[item.key] for entry in servers if item.key in entry.found] or [RRset()]
    sides = [dns_plan.missing(item, there) for there in looks]
    lacking, extra = ({text for side in sides for text in side[at]} for at in (0, 1))
    if not lacking and not extra:
        return []
    lines = [f"{item.name}. {item.ttl} IN {item.type} {value.zone_text}" for value in item.values if value.text in lacking]
    entry = {"name": item.name, "zone": item.zone, "type": item.type, "ttl": item.ttl}
    return [{**entry, "values": sorted(lacking), "remove": sorted(extra), "lines": lines}]


def _reachable(addresses: Iterable[str], port: int, timeout: float) -> Server:
    """Return the first address that takes a TCP connection."""
    failures = []
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=timeout).close()
        except OSError as exc:
            failures.append(f"{Server(address, port)}: {exc.strerror or 'no answer'}")
        else:
            return Server(address, port)
    raise MailError(f"the primary server cannot be reached over TCP: {'; '.join(failures)}; check server, port and the way there")
