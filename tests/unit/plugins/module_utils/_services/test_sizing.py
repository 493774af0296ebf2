# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
from pathlib import Path

from ansible_collections.postmaster.mail.plugins.module_utils._model.sizing import FIGURES
from ansible_collections.postmaster.mail.plugins.module_utils._services import sizing

DOCUMENTATION = Path(__file__).parents[5] / "docs/sizing.md"
#: MiB as a host reports them, processors, users.
MACHINES = [(468, 1, 5), (964, 1, 50), (1968, 2, 500), (3915, 4, 1000), (15990, 8, 5000)]
#: The same and more, and whether Dovecot can hibernate.
GRID = list(itertools.product((300, 468, 964, 1968, 3915, 7940, 15990, 64000), (1, 2, 4, 16), (0, 1, 20, 500, 5000, 50_000), (True, False)))


def everywhere():
    """Machines and their sizes."""
    for memory, cores, users, hibernation in GRID:
        yield (memory, cores, users, hibernation), sizing.sizes(memory, cores, users, {}, hibernation)


def table():
    """The table of docs/sizing.md."""
    columns = [sizing.sizes(*machine, {}) for machine in MACHINES]
    heads = [f"{round(memory / 512) / 2:g} GB, {cores}, {users}" for memory, cores, users in MACHINES]
    lines = [["size", "what it is", "from … to", *heads], ["---"] * (3 + len(heads))]
    lines += [[f"`{name}`", figure.meaning, f"{figure.low} … {figure.high}", *(str(column[name]) for column in columns)]
              for name, figure in FIGURES.items()]
    lines.append(["", "**all of them at once, in MiB**", "", *(f"**{sizing.memory_at_limits(column)}**" for column in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_documentation_has_the_sizes_of_typical_machines():
    text = DOCUMENTATION.read_text()
    found = text[text.index("| size |"):].partition("\n\n")[0] + "\n"
    assert found == table(), "write the table anew: print(test_sizing.table())"


def test_all_sizes_are_whole_numbers_within_their_bounds():
    for machine, found in everywhere():
        assert list(found) == list(FIGURES)
        assert {type(value) for value in found.values()} == {int}
        assert {name: value for name, value in found.items() if not FIGURES[name].low <= value <= FIGURES[name].high} == {}, machine


def test_all_limits_together_fit_into_the_memory():
    for machine, found in everywhere():
        memory, cores = machine[:2]
        if memory > 900 * cores:
            assert sizing.memory_at_limits(found, machine[3]) < memory * 1.03, machine  # 1968 is a machine of 2048


def test_500_users_with_three_devices_each_fit_into_2_gb_and_two_processors():
    found = sizing.sizes(1968, 2, 500, {})
    assert found["dovecot_imap_sessions"] >= 1500
    assert found["inotify_instances"] > found["dovecot_imap_sessions"]
    assert found["postfix_smtpd_processes"] > found["client_connections"] >= 60
    assert found["postfix_submission_processes"] >= 30
    assert sizing.memory_at_limits(found) <= 2048


def test_who_waits_has_more_than_whom_it_waits_for():
    for machine, found in everywhere():
        assert found["dovecot_lmtp_processes"] > found["lmtp_deliveries"], machine
        assert found["rspamd_task_seconds"] < found["rspamd_proxy_seconds"] < found["mta_filter_seconds"], machine
        sessions = found["dovecot_imap_sessions"]
        assert found["dovecot_login_processes"] * found["dovecot_login_clients"] > sessions >= found["dovecot_imap_processes"], machine
        assert found["postfix_smtpd_processes"] > found["client_connections"], machine
        assert found["dovecot_clients"] > sessions + found["dovecot_lmtp_processes"], machine


def test_one_more_user_or_another_kernel_changes_nothing():
    assert sizing.sizes(1968, 2, 500, {}) == sizing.sizes(1961, 2, 501, {}) == sizing.sizes(2048, 2, 300, {})


def test_without_hibernation_each_session_is_a_process():
    found = sizing.sizes(1968, 2, 500, {}, hibernation=False)
    assert found["dovecot_imap_sessions"] == found["dovecot_imap_processes"] == 255


def test_sizes_follow_one_that_is_set():
    usual = sizing.sizes(1968, 2, 500, {})
    found = sizing.sizes(1968, 2, 500, {"dovecot_imap_sessions": 3000, "rspamd_task_seconds": 100, "lmtp_deliveries": 30})
    changed = {name: found[name] for name in found if found[name] != usual[name]}
    assert changed == {
        "lmtp_deliveries": 30,
        "mta_filter_seconds": 230,
        "dovecot_imap_sessions": 3000,
        "dovecot_login_clients": 1750,
        "dovecot_lmtp_processes": 36,
        "dovecot_clients": 3901,
        "dovecot_open_files": 8058,
        "inotify_instances": 3128,
        "rspamd_task_seconds": 100,
        "rspamd_proxy_seconds": 215,
    }


def test_the_values_of_a_host_are_those_of_its_model():
    model = {"users": dict.fromkeys(map(str, range(500))), "sizing": {"unbound_threads": 3}, "filter": {"antivirus": False}}
    found = sizing.values({"model": model, "memory": 1968, "cores": 2, "hibernation": False})
    assert found == sizing.sizes(1968, 2, 500, {"unbound_threads": 3}, False)
    model["filter"]["antivirus"] = True
    assert sizing.values({"model": model, "memory": 1968 + sizing.ANTIVIRUS, "cores": 2, "hibernation": False}) == found
