# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_migrate
short_description: "[INTERNAL] Copy the data of an instance of Redis to one of Valkey"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - For a host whose new release has another store, as Debian 13 has Valkey in the place of Redis. Both may be installed; what the
    old instance has is put where the new one looks for it when it is started for the first time.
  - The data go as plain commands in an append-only file, which either reads whatever the other's version is; their snapshots are
    not for each other. The new server has read the whole copy, and found as many lasting keys in it, before the copy is put in place.
  - The old instance and those who write to it are stopped and stay so; its data stay where they are. The caller configures and
    starts the new one, and then those who write.
  - After an error both the old instance and those who write run as they did before. What was interrupted is begun anew.
  - It is over once the new instance has its configuration; from then on this module does nothing.
options:
  name:
    description: The instance's C(appenddirname), in either store; its C(appendfilename) is the same with C(.aof) at the end.
    type: str
    required: true
  source:
    description: The instance that has the data. It must keep append-only files, as Redis does since version 7.0.
    type: dict
    required: true
    suboptions:
      service:
        description: Its systemd unit.
        type: str
        required: true
      socket:
        description: The socket that it listens at.
        type: path
        required: true
      directory:
        description: The directory that it keeps its data in.
        type: path
        required: true
  target:
    description: The instance that is to have them. It must not run yet.
    type: dict
    required: true
    suboptions:
      server:
        description: Its program.
        type: str
        required: true
      owner:
        description: The system user that it runs as.
        type: str
        required: true
      directory:
        description: The directory that it keeps its data in.
        type: path
        required: true
      config:
        description: The configuration file that it will have, and has not yet.
        type: path
        required: true
  users:
    description: Units that write to the store, to be stopped meanwhile.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
"""

EXAMPLES = r"""
- name: What Rspamd has learnt comes along
  postmaster.mail.redis_migrate:
    name: rspamd
    source:
      service: redis-server@rspamd
      socket: /run/redis-rspamd/redis-server.sock
      directory: /var/lib/redis
    target:
      server: valkey-server
      owner: valkey
      directory: /var/lib/valkey
      config: /etc/valkey/valkey-rspamd.conf
    users: [rspamd]
"""

RETURN = r"""
keys:
  description: How many keys were carried over, V(null) where there was nothing to do or in check mode.
  type: int
  returned: success
kept:
  description: Where the old data are, which this module does not touch again; empty where there are none.
  type: str
  returned: success
others:
  description: Other instances of the old store on this host, by their units.
  type: list
  elements: str
  returned: success
"""

import signal
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._host import redis

STRING = {"type": "str", "required": True}
PATH = {"type": "path", "required": True}
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def interrupted(number: int, _frame: Any) -> None:
    """Turn the first signal into an error, so that what was stopped runs again."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise MailError(f"interrupted by {signal.Signals(number).name}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": STRING,
            "source": {"type": "dict", "required": True, "options": {"service": STRING, "socket": PATH, "directory": PATH}},
            "target": {
                "type": "dict",
                "required": True,
                "options": {"server": STRING, "owner": STRING, "directory": PATH, "config": PATH},
            },
            "users": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    for number in SIGNALS:
        signal.signal(number, interrupted)
    given = module.params
    plan = redis.RedisMigration(given["name"], redis.Source(**given["source"]), redis.Target(**given["target"]), given["users"])
    keys = None
    try:
        changed = redis.needed(plan)
        if changed and not module.check_mode:
            keys = redis.carry(plan)
        left = redis.others(plan.source.service)
    except KeyError:
        module.fail_json(msg=f"owner {plan.target.owner!r} is no user of this host: install {plan.target.server} first")
    except (MailError, OSError) as exc:
        module.fail_json(msg=f"{exc}. {plan.kept} is as it was, and {', '.join([plan.source.service, *plan.users])} run as before")
    kept = str(plan.kept) if plan.kept.is_dir() else ""
    diff = {"before": f"{kept}\n", "after": f"{plan.target.directory}/{plan.name}\n"} if changed else {"before": "", "after": ""}
    module.exit_json(changed=changed, keys=keys, kept=kept, others=left, diff=diff)


if __name__ == "__main__":
    main()
