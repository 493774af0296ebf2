# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Put a service's configuration files in place as a whole
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Renders a directory of templates on the controller, sends all files in one module call, lays them out as a staged copy
    beside the live files, runs the service's own checkers on the staged whole, and only if all of them accept it puts the
    files that differ in place.
  - If a checker refuses, nothing on the host has changed and the checker's output is the error.
  - What was put on a host is remembered per O(id) in a manifest below O(state_dir). Files that are no longer wanted are
    removed, files that somebody changed by hand are reported and kept beside their replacement.
  - A run that finds nothing to do neither stages nor validates anything.
options:
  id:
    description:
      - Name under which is remembered what this task has put on the host.
      - Two ids cannot put the same file.
    type: str
    required: true
  state:
    description:
      - With V(absent), all that this O(id) has put on the host is removed, whatever O(prune) says, and the O(id) is forgotten. Files that
        it had replaced, and that are still kept beside, come back; files that were changed by hand since are kept beside.
      - No other option but O(backup), O(secret) and O(state_dir) has a meaning then. An O(id) that is not known is no error.
    type: str
    choices: [absent, present]
    default: present
  src:
    description:
      - With O(state=present) this, O(files) or both are required.
      - Directory of templates, searched for as M(ansible.builtin.template) searches for its O(ansible.builtin.template#module:src),
        so usually below C(templates/) of the role.
      - Its tree mirrors O(dest). Files whose name ends in C(.j2) are rendered, without that ending in their name; all others are
        copied as they are.
      - A variable that several of them use is evaluated once, also one that none of them needs in the end, and has the same value in
        all. One that speaks of C(template_path) and its like is evaluated in each.
      - Files and directories whose names start with C(_) are partials for C({% include %}). They are not installed.
        They are found beside the template, from the top of this tree, and from C(templates/).
      - Symbolic links in the tree are followed, but must not lead out of it.
    type: str
  files:
    description:
      - Directory of files that are put as they are, whatever their names, such as programs. It is searched for as M(ansible.builtin.copy)
        searches for its O(ansible.builtin.copy#module:src), so usually below C(files/) of the role.
      - Its tree mirrors O(dest), as that of O(src) does, and both are one tree to all other options. Files and directories whose names
        start with C(_) are left out here too.
      - A path that both trees have is an error.
    type: str
  dest:
    description:
      - Required with O(state=present).
      - Directory that the tree mirrors. The directory above it must exist.
      - Nobody but root, or whoever runs this, may be able to change it or one above it. For files in the directory of a service, name
        the one above that, such as V(/etc).
    type: path
  owner:
    description:
      - Owner of files, and of directories that have to be made, by name or number. By default the user that runs the module.
    type: str
  group:
    description:
      - Group of files, and of directories that have to be made, by name or number. By default the group that runs the module.
    type: str
  mode:
    description:
      - Mode of files, a quoted octal number. Directories that have to be made get the execute bits that go with its read bits.
    type: raw
    default: "0644"
  modes:
    description:
      - Exceptions from O(mode), O(owner) and O(group).
      - Each key is a path relative to O(dest) or a pattern; C(*) matches slashes too. Each value is a mode, or a dictionary
        with any of C(mode), C(owner) and C(group).
      - Every pattern that matches is laid over the ones before it, in the order written; an exact path comes last.
      - An entry for a directory applies if this task made the directory.
      - An exact path that is neither in the tree nor in O(extra) is an error.
    type: dict
    default: {}
  secret:
    description:
      - Paths, directories and patterns of files whose content must never be shown, neither in a diff nor in a checker's output.
      - One whose mode lets everyone read it is an error, and so is any file with a private key in it that everyone could read.
      - An exact path that is neither in the tree nor in O(extra) is an error, so that a misspelt one cannot give a secret away.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Paths, directories and patterns of files in the tree to leave out, for features that are off.
      - Files that an earlier run put there are removed, whatever O(prune) says.
      - An exact path that is neither in the tree nor in O(extra) is an error.
    type: list
    elements: str
    default: []
  initial:
    description:
      - Paths, directories and patterns of files that are put only where there is none. One that is there keeps its content, whoever
        wrote it, and the checkers see that; owner, group and mode are as for any other.
      - An exact path that is neither in the tree nor in O(extra) is an error.
    type: list
    elements: str
    default: []
  extra:
    description:
      - Further files, path relative to O(dest) to text, for files that are made per domain or user.
      - A path that is also in the tree of templates is an error.
    type: dict
    default: {}
  extra_from:
    description:
      - Name of a variable that holds further files, as O(extra) does. It is evaluated once, on the controller, and is not part of the
        task's arguments, so it may hold what O(secret) names.
      - A path that is also in O(extra) or in the tree of templates is an error.
    type: str
  names:
    description:
      - Path of a file in O(src) or O(files), without its C(.j2), to its path relative to O(dest), for files whose place depends on the
        system. All other options know it by that.
      - A path that is not in the tree is an error.
    type: dict
    default: {}
  line_keys:
    description:
      - Files whose lines begin with a key, path relative to O(dest) to the one character that ends it, for RV(changed_keys).
      - A path that is neither in the tree nor in O(extra) is an error.
    type: dict
    default: {}
  notify_for:
    description:
      - Of the handlers in the task's C(notify), those that are for some of the files only. Name of the handler to a list of paths,
        directories and patterns, relative to O(dest); it is notified if one of the files that changed or were removed matches. A
        pattern that begins with C(!) excepts files.
    type: dict
    default: {}
  stage_live:
    description:
      - Paths relative to O(dest) that belong to the service. Their live files are copied into the stage before ours are laid over
        them, so that a checker sees the whole. V(.) stands for all of O(dest).
    type: list
    elements: str
    default: []
  validate:
    description:
      - Commands that judge the staged tree, run in this order with C(LC_ALL=C) before anything is changed.
      - In all strings of O(validate[].argv), O(validate[].environment) and O(validate[].needs), C({stage}) is replaced by the staged
        copy of O(dest), and C({dest}) by O(dest).
      - A checker that is not installed is an error, except in check mode.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description: Command and arguments. No shell is involved.
        type: list
        elements: str
        required: true
      script:
        description:
          - A program of the controller, searched for as O(files) is, that is copied beside the stage for this command alone. In
            O(validate[].argv) C({script}) is replaced by its path; name its interpreter before it.
        type: str
      fail_on:
        description: Regular expressions, searched for in each line of the output; a match fails the command whatever its exit status.
        type: list
        elements: str
        default: []
      environment:
        description: Environment variables to add. Not meant for secrets.
        type: dict
        default: {}
      needs:
        description:
          - Files outside of the tree that the service reads and that something earlier puts there. One that does not exist is an
            error, except in check mode.
        type: list
        elements: path
        default: []
      timeout:
        description: After this many seconds the command is stopped, which counts as a refusal.
        type: int
        default: 60
  prune:
    description:
      - Remove files that this O(id) put there earlier and that are neither in the tree nor in O(extra) any more, and
        directories that it made and that are empty then.
      - If the removed file had replaced one that was there before, and that one is still kept beside it, it comes back.
    type: bool
    default: true
  backup:
    description:
      - Keep what is replaced. A file that was there before the first run is kept as C(NAME.postmaster-orig) (with a warning, unless it
        is just as its package brought it, by what dpkg, ucf or the package's examples say), a file that was changed
        by hand since the last run as C(NAME.postmaster-edited), each with a number added if that name is taken by another content.
      - These copies have the owner, the group and the mode of what they are copies of, without execute bits, and those of O(secret)
        files are for their owner alone. A checker sees them in the stage.
      - With V(false), both are overwritten for good, and still reported.
    type: bool
    default: true
  state_dir:
    description:
      - Directory on the host below which manifests are kept, in C(config_tree/).
    type: path
    default: /var/lib/postmaster-mail
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
  check_mode:
    details:
      - The checkers run in check mode too, on a stage that is removed afterwards. Where that cannot be, because a checker, what it needs,
        a user, a group or the directory does not exist yet, RV(validated) is V(false) and the task does not fail.
notes:
  - Several renames are not one. A journal lets an error undo the files that were already replaced, and lets the next run of the
    same O(id) finish or undo what a killed run left.
  - A symbolic link in the place of a file is replaced, never followed. Directories may be symbolic links as long as they stay
    below O(dest).
  - Content of O(extra) is part of the task's arguments, which some callback plugins print. Secrets belong into templates or into
    O(extra_from), or the task needs C(no_log).
  - All runs on a host that share a O(state_dir) wait for each other.
seealso:
  - module: ansible.builtin.template
"""

EXAMPLES = r"""
- name: Configuration | The files of the filter, checked as a whole
  postmaster.mail.config_tree:
    id: rspamd
    src: etc
    dest: /etc
    owner: root
    group: root
    mode: "0644"
    modes:
      rspamd/local.d/worker-controller.inc:
        mode: "0640"
        group: _rspamd
    secret:
      - rspamd/local.d/worker-controller.inc
    exclude: "{{ [] if rspamd_greylisting else ['rspamd/local.d/greylist.conf'] }}"
    extra:
      rspamd/local.d/maps/trusted.map: "{{ rspamd_trusted | join('\n') }}\n"
    stage_live:
      - rspamd
    validate:
      - argv:
          - rspamadm
          - --var=CONFDIR={stage}/rspamd
          - --var=LOCAL_CONFDIR={stage}/rspamd
          - configtest
          - -c
          - "{stage}/rspamd/rspamd.conf"
        fail_on:
          - unused parameter
  notify: Restart rspamd

- name: Configuration | A single file, with a checker that takes a directory
  postmaster.mail.config_tree:
    id: resolver
    src: etc
    dest: /etc
    owner: root
    group: root
    stage_live:
      - unbound
    validate:
      - argv: [unbound-checkconf, "{stage}/unbound/unbound.conf"]

- name: Configuration | The other mail server's files are gone
  postmaster.mail.config_tree:
    id: opensmtpd
    state: absent
"""

RETURN = r"""
changed_files:
  description: Files put, replaced, given other attributes or brought back, and directories given other attributes.
  returned: success
  type: list
  elements: str
  sample: [/etc/rspamd/local.d/actions.conf]
removed_files:
  description: Files and directories that were removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/rspamd/local.d/greylist.conf]
changed_keys:
  description:
    - Of each file in O(line_keys) that was replaced, the keys of lines that are not as they were or not there any more, sorted. Those of
      new lines are not in it.
  returned: success
  type: dict
  sample: {/etc/dovecot/users: [me@example.org]}
adopted_files:
  description: Files that were there before the first run and have been replaced.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    backup:
      description: Where its content is kept, or V(null) with O(backup=false).
      type: str
  sample:
    - path: /etc/rspamd/local.d/actions.conf
      backup: /etc/rspamd/local.d/actions.conf.postmaster-orig
edited_files:
  description: Files that were changed by hand since the last run and have been replaced or removed. Same form as RV(adopted_files).
  returned: success
  type: list
  elements: dict
  sample:
    - path: /etc/rspamd/local.d/actions.conf
      backup: /etc/rspamd/local.d/actions.conf.postmaster-edited
restored_files:
  description: Files no longer wanted, in whose place the one that was there before has come back. Same form as RV(adopted_files).
  returned: success
  type: list
  elements: dict
  sample: []
ids:
  description: Every O(id) that has files on this host now, so that a role can see what others have left.
  returned: success
  type: list
  elements: str
  sample: [dovecot, postfix, rspamd]
validated:
  description:
    - Whether checkers ran in this run and all of them accepted the staged tree.
    - It is V(false) if there was nothing to do, if O(validate) is empty, or if check mode could not run them yet.
  returned: success
  type: bool
  sample: true
recovered:
  description: What happened to the swap of a killed run, C(finished), C(undone), or in check mode C(pending); V(null) if there was none.
  returned: success
  type: str
  sample: null
diff:
  description:
    - One entry per file. The content of O(secret) files is replaced by a note, and so is what somebody else wrote into a file that not
      everybody may read. In all others, what looks like a password, a token or a private key is masked.
  returned: when a diff is asked for
  type: list
  elements: dict
command:
  description: The checker that refused, with O(dest) in place of the stage.
  returned: when a checker refused
  type: list
  elements: str
rc:
  description: Its exit status, V(null) if it had to be stopped.
  returned: when a checker refused
  type: int
output:
  description: What it said, with O(dest) in place of the stage, and lines of secret files masked.
  returned: when a checker refused
  type: str
"""

import signal
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import engine, rules
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def interrupted(number: int, _frame: Any) -> None:
    """Turn the first signal into an error, so that the stage is removed and a swap undone."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise MailError(f"interrupted by {signal.Signals(number).name}; nothing has been changed")


def tree_of(params: dict[str, Any]) -> engine.Tree:
    """Return what is wanted, from the module's options."""
    files, diff, scripts = rules.unpack(params["_tree"] or "")
    same = (
        "id", "dest", "owner", "group", "modes", "secret", "exclude", "initial", "line_keys", "stage_live", "validate", "prune", "backup",
        "state_dir",
    )  # fmt: skip
    if params["state"] == "absent":
        kept = {name: params[name] for name in ("id", "backup", "secret", "state_dir")}
        return engine.Tree(dest="", files={}, absent=True, diff=diff, **kept)
    mode = rules.octal_mode(params["mode"], "mode")
    return engine.Tree(files=files, diff=diff, scripts=scripts, mode=mode, **{name: params[name] for name in same})


def main() -> None:
    module = AnsibleModule(
        # The action plugin sends the rendered files as one string that is masked wherever it could be shown or logged.
        argument_spec={**rules.ARGUMENT_SPEC, "_tree": {"type": "str", "no_log": True}},
        required_if=rules.REQUIRED_IF,
        supports_check_mode=True,
    )
    for number in SIGNALS:
        signal.signal(number, interrupted)
    try:
        result = engine.apply(tree_of(module.params), module.check_mode)
    except engine.Refusal as exc:
        module.fail_json(msg=str(exc), command=exc.command, rc=exc.rc, output=exc.output)
    except MailError as exc:
        module.fail_json(msg=str(exc))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
