//go:build tools

// Package helm keeps helm's command in go.mod; build.sh builds that command.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
