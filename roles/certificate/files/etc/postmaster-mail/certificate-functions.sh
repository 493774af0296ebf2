# Part of the role postmaster.mail.certificate: what its programs have in common. certificate.conf assigns the variables.
# shellcheck shell=sh disable=SC2154

# Have a service that runs read its certificate again, by a restart where it cannot reload, as OpenSMTPD cannot.
reload_service() {  # SERVICE
  if command -v rcctl >/dev/null; then
    rcctl check "$1" >/dev/null 2>&1 || return 0
    rcctl reload "$1" >/dev/null 2>&1 || rcctl restart "$1" >/dev/null
  else
    ! systemctl --quiet is-active "$1" || systemctl reload-or-restart "$1"
  fi
}

place() {  # MODE FROM TO
  install -m "$1" -o root -g "$group" "$2" "$3.new" && mv -f "$3.new" "$3"
}

# What every service has been told of: as long as it differs, whatever stopped an earlier run, they are told again.
told=${chain:-}.told

# Ends with 0 if all services have been told, 2 if they knew it, 1 if one could not be told, which keeps no other from it.
tell() {
  cmp -s "$chain" "$told" && return 2
  untold=
  for service in $services; do
    reload_service "$service" || untold="$untold $service"
  done
  if [ -n "$untold" ]; then
    echo "The new certificate is in $chain, but these services go on with the one before:$untold. They are told again in the next run." >&2
    return 1
  fi
  place 0644 "$chain" "$told"
}
