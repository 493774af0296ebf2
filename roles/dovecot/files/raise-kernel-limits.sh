#!/bin/sh
# Raise the kernel's limits to those of a file as sysctl.d(5) has them: raise-kernel-limits FILE
# None is lowered that is higher already. A container has the limits of its machine, and cannot change them.

[ -e "$1" ] || exit 0
while read -r name _ value; do
  case $name in '#'* | '') continue ;; esac
  [ "$(sysctl -n "$name")" -lt "$value" ] || continue
  if [ -w "/proc/sys/$(echo "$name" | tr . /)" ]; then
    sysctl -w "$name=$value" || exit 1
  else
    echo "$name is the machine's own: raise it there to $value"
  fi
done <"$1"
