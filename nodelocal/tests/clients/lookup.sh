# Looks up names, one a line of its input, by getent: prints the name and its
# addresses, or `-`.
while read -r name; do
    addresses=$(getent ahosts "$name" | awk '$2 == "STREAM" { print $1 }')
    # shellcheck disable=SC2086
    echo "$name" ${addresses:--}
done
