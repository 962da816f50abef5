#!/bin/sh
# Builds the control plane of the tests: one program under four names.
#
#   tests/control-plane/build.sh [FOLDER]     (default: target/control-plane)
#
# Minutes and about 130 MB the first time; nothing is done when it is up to date.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../target/control-plane}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here"

# The sources are pinned by go.sum: same files and same compiler, same program.
stamp=$(cat main.go go.mod go.sum build.sh | sha256sum | cut -d' ' -f1)-$(go env GOVERSION)
names="kube-apiserver kube-controller-manager kubectl"
if [ "$(cat "$out/stamp" 2>/dev/null || true)" = "$stamp" ] && [ -x "$out/etcd" ]; then
	exit 0
fi

# The version is what the API server reports; without it, it claims v0.0.0.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
minor=${minor%%.*}
at=k8s.io/component-base/version
CGO_ENABLED=0 go build -trimpath \
	-ldflags "-s -w -X $at.gitVersion=$version -X $at.gitMajor=1 -X $at.gitMinor=$minor" \
	-o "$out/etcd.new" .
mv -f "$out/etcd.new" "$out/etcd"
for name in $names; do
	ln -f "$out/etcd" "$out/$name"
done
echo "$stamp" >"$out/stamp"
