#!/bin/sh
# Builds helm for the tests of the chart.
#
#   tests/helm/build.sh [FOLDER]     (default: target/helm)
#
# A minute the first time; nothing is done when it is up to date.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../target/helm}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here"

# The sources are pinned by go.sum: same files and same compiler, same program.
stamp=$(cat tools.go go.mod go.sum build.sh | sha256sum | cut -d' ' -f1)-$(go env GOVERSION)
if [ "$(cat "$out/stamp" 2>/dev/null || true)" = "$stamp" ] && [ -x "$out/helm" ]; then
	exit 0
fi

# As a release is built: what helm takes the cluster for where it sees none
# is the version of the client it was built with.
minor=$(go list -m -f '{{.Version}}' k8s.io/client-go)
minor=${minor#v0.}
minor=${minor%%.*}
at=helm.sh/helm/v3
CGO_ENABLED=0 go build -trimpath \
	-ldflags "-s -w \
		-X $at/pkg/lint/rules.k8sVersionMajor=1 -X $at/pkg/lint/rules.k8sVersionMinor=$minor \
		-X $at/pkg/chartutil.k8sVersionMajor=1 -X $at/pkg/chartutil.k8sVersionMinor=$minor" \
	-o "$out/helm.new" helm.sh/helm/v3/cmd/helm
mv -f "$out/helm.new" "$out/helm"
echo "$stamp" >"$out/stamp"
