#!/bin/sh
# Builds the programs of the images, and what comes with them.
#
#   deploy/image/programs.sh PROFILE REVISION FOLDER
#
# Leaves FOLDER/pando and FOLDER/pando-node, each to be laid over an image's
# root. Needs cargo, cargo-cyclonedx, binutils and setcap.
set -eu
profile=$1 revision=$2 out=$3

# Static, and by glibc: over musl a query for a cluster name takes 10 % more
# CPU and an external one a third more (deploy/image/README.md). glibc has
# the look-up of names built in and needs no file for it. The target is named,
# so that what runs while compiling is built as ever.
host=$(rustc -vV | sed -n 's/^host: //p')
export PANDO_COMMIT="$revision" PANDO_REVISION="$revision"
RUSTFLAGS="-C target-feature=+crt-static" \
	cargo build --locked --profile "$profile" --target "$host" -p pando -p pando-node

# What each is made of, as CycloneDX: the crates that are linked, with versions
# and checksums.
cargo cyclonedx --quiet --format json --target "$host" --no-build-deps --override-filename sbom

folder=${CARGO_TARGET_DIR:-target}/$host/$profile
[ "$profile" != dev ] || folder=${CARGO_TARGET_DIR:-target}/$host/debug
lay() { # IMAGE SBOM PROGRAM…
	image=$1 doc=$out/$1/usr/share/doc/$1
	mkdir -p "$doc"
	cp LICENSE "$doc/"
	mv "$2" "$doc/sbom.cdx.json"
	shift 2
	for program in "$@"; do
		# Names of functions stay, for profiles of what is slow in a cluster.
		strip --strip-debug -o "$out/$image/$program" "$folder/$program"
		chmod 755 "$out/$image/$program"
	done
}
lay pando sbom.json pando
lay pando-node nodelocal/sbom.json pando-node pando-node-worker
# Of the system, for `endpoint https://…` without a certificate of its own.
for image in pando pando-node; do
	mkdir -p "$out/$image/etc/ssl/certs"
	cp /etc/ssl/certs/ca-certificates.crt "$out/$image/etc/ssl/certs/"
done
setcap cap_net_bind_service=ep "$out/pando/pando"
