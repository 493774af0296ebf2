# What every service has been told of: as long as it differs, whatever stopped an earlier run, they are told again.
told=$chain.told

place() {  # MODE FROM TO
  install -m "$1" -o root -g {{ __certificate_root_group }} "$2" "$3.new" && mv -f "$3.new" "$3"
}

# Ends with 0 if all services have been told, 2 if they knew it, 1 if one could not be told, which keeps no other from it.
tell() {
  cmp -s "$chain" "$told" && return 2
  untold=
  for service in {{ certificate_services | join(' ') }}; do
    {{ __certificate_tell }} || untold="$untold $service"
  done
  if [ -n "$untold" ]; then
    echo "The new certificate is in $chain, but these services go on with the one before:$untold. They are told again in the next run." >&2
    return 1
  fi
  place 0644 "$chain" "$told"
}
