#!/bin/sh
# stop-units-of-earlier-release.sh SERVICE UNIT...: stop the units of an earlier release that the service's own unit takes the place of, which systemd
# says by a conflict, and that still run. Prints "stopped" if one did; the service is to be started then.
set -eu
service=$1
shift
conflicts=$(systemctl show --property=Conflicts --value "$service")
for unit; do
  case " $conflicts " in *" $unit "*)
    if systemctl --quiet is-active "$unit"; then
      systemctl stop "$unit" "$service"
      echo stopped
    fi ;;
  esac
done
