#!/bin/sh
# Builds the images of deploy/Dockerfile and lays out what is in them.
#
#   tests/image/build.sh [FOLDER]     (default: target/image)
#
# Leaves FOLDER/pando and FOLDER/pando-node, each with `rootfs` and with
# `config.json`, what buildah says of it. No registry is asked: the base
# images are made of Debian's packages, and the compiler is this machine's.
# Needs root, buildah, mmdebstrap and cargo-cyclonedx. It compiles without
# optimisation (PROFILE=release for what users get) and keeps what it compiled.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sources=$(cd "$here/../.." && pwd)
out=${1:-$sources/target/image}
mkdir -p "$out/compiled" "$out/base"
out=$(cd "$out" && pwd)
cd "$sources"

if [ "$(id -u)" != 0 ]; then
	echo "skipped: images are built as root here"
	exit 0
fi
for tool in buildah mmdebstrap cargo-cyclonedx; do
	command -v "$tool" >/dev/null || {
		echo "skipped: no $tool to build the images with"
		exit 0
	}
done

if [ ! -e "$out/base/rootfs.tar" ]; then
	mmdebstrap --quiet --format=tar --variant=minbase --include=ca-certificates,gcc,libc6-dev,libcap2-bin \
		bookworm "$out/base/rootfs.new"
	mv "$out/base/rootfs.new" "$out/base/rootfs.tar"
fi
# Where the official image of Rust has its programs.
cat >"$out/base/Dockerfile" <<'END'
FROM scratch
ADD rootfs.tar /
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup
ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
base=localhost/pando-test-base
buildah bud --quiet --layers --isolation chroot -t "$base" "$out/base" >/dev/null

for image in pando pando-node; do
	name=localhost/pando-test-$image
	buildah bud --quiet --layers --isolation chroot --pull-never \
		-v "${CARGO_HOME:-$HOME/.cargo}:/usr/local/cargo" \
		-v "${RUSTUP_HOME:-$HOME/.rustup}:/usr/local/rustup:ro" \
		-v "$out/compiled:/src/target" \
		--build-arg RUST_IMAGE="$base" --build-arg DEBIAN_IMAGE="$base" \
		--build-arg PROFILE="${PROFILE:-dev}" --build-arg REVISION=0123456 \
		-f deploy/Dockerfile --target "$image" -t "$name" . >/dev/null
	rm -rf "${out:?}/$image"
	mkdir -p "$out/$image"
	buildah inspect --type image "$name" >"$out/$image/config.json"
	container=$(buildah from --pull-never "$name")
	cp -a "$(buildah mount "$container")" "$out/$image/rootfs"
	buildah rm "$container" >/dev/null
done
