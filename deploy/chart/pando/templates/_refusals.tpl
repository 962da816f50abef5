{{- /*
What the values say and this chart cannot do. Everything that is wrong is said
at once, each with the path of its value: a values file that was written for
CoreDNS is mended in one go.
*/ -}}
{{- define "pando.refusals" -}}
{{- $wrong := list -}}
{{- $values := .Values -}}
{{- $version := .Chart.AppVersion -}}

{{- if eq (base $values.image.repository) "coredns" -}}
{{- $wrong = append $wrong (printf "image.repository: %s is CoreDNS, and this chart runs Pando: leave it out, or name your copy of ghcr.io/pando-dns/pando" $values.image.repository) -}}
{{- end -}}
{{- with $values.image.tag -}}
{{- $tag := toString . -}}
{{- if regexMatch `^v?[0-9]+\.[0-9]+` $tag -}}
{{- $major := regexFind `[0-9]+` $tag | int -}}
{{- if gt $major (semver $version).Major -}}
{{- $wrong = append $wrong (printf "image.tag: %s is no version of Pando that this chart knows (%s): a tag of CoreDNS? Leave it out for the chart's own" $tag $version) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $values.rbac.pspEnable -}}
{{- $wrong = append $wrong "rbac.pspEnable: Kubernetes has no PodSecurityPolicies any more (since 1.25): leave it out" -}}
{{- end -}}
{{- if and $values.hpa.enabled $values.autoscaler.enabled -}}
{{- $wrong = append $wrong "hpa.enabled, autoscaler.enabled: one of them can set the number of replicas, not both" -}}
{{- end -}}
{{- if and $values.hpa.enabled (gt (int $values.hpa.minReplicas) (int $values.hpa.maxReplicas)) -}}
{{- $wrong = append $wrong (printf "hpa.minReplicas: %d is more than hpa.maxReplicas, %d" (int $values.hpa.minReplicas) (int $values.hpa.maxReplicas)) -}}
{{- end -}}
{{- if and $values.autoscaler.enabled $values.autoscaler.max (gt (int $values.autoscaler.min) (int $values.autoscaler.max)) -}}
{{- $wrong = append $wrong (printf "autoscaler.min: %d is more than autoscaler.max, %d" (int $values.autoscaler.min) (int $values.autoscaler.max)) -}}
{{- end -}}
{{- if and (eq $values.deployment.dnsPolicy "None") (not $values.deployment.dnsConfig) -}}
{{- $wrong = append $wrong "deployment.dnsPolicy: None needs nameservers in deployment.dnsConfig" -}}
{{- end -}}
{{- if and (not $values.deployment.enabled) (not $values.deployment.name) (or $values.hpa.enabled $values.autoscaler.enabled) -}}
{{- $wrong = append $wrong "deployment.name: with deployment.enabled=false it must name the Deployment to scale" -}}
{{- end -}}

{{- if $values.deployment.enabled -}}
{{- $selected := include "pando.selector" (dict "root" . "suffix" "") | fromYaml -}}
{{- range $from := list "customLabels" "podLabels" -}}
{{- range $label, $value := get $values $from -}}
{{- if and (hasKey $selected $label) (ne (get $selected $label) (toString $value)) (not $values.deployment.selector) -}}
{{- $wrong = append $wrong (printf "%s: the Deployment selects its Pods by %s=%s; change it with %s" $from $label (get $selected $label) (eq $label "k8s-app" | ternary "k8sAppLabelOverride" (eq $label "app.kubernetes.io/name" | ternary "nameOverride" "the release's name"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $facts := include "pando.facts" . | fromJson -}}
{{- if $facts.known -}}
{{- if and $values.livenessProbe.enabled (not $facts.health) -}}
{{- $wrong = append $wrong "livenessProbe.enabled: no block of servers has the plugin health, and the Pods would be killed: add it, or say false" -}}
{{- end -}}
{{- if and $values.readinessProbe.enabled (not $facts.ready) -}}
{{- $wrong = append $wrong "readinessProbe.enabled: no block of servers has the plugin ready, and the Pods would never be asked: add it, or say false" -}}
{{- end -}}
{{- if and (or $values.prometheus.service.enabled $values.prometheus.monitor.enabled) (not $facts.metrics) -}}
{{- $wrong = append $wrong "prometheus.service.enabled, prometheus.monitor.enabled: no block of servers has the plugin prometheus: add it, or say false" -}}
{{- end -}}
{{- end -}}

{{- if not $values.deployment.skipConfig -}}
{{- if and (not $values.servers) (not $values.extraConfig) -}}
{{- $wrong = append $wrong "servers: there is none, and nothing would be answered" -}}
{{- end -}}
{{- $directives := splitList "\n" (.Files.Get "directives" | trim) -}}
{{- $bound := dict -}}
{{- range $block, $server := $values.servers -}}
{{- range $index, $zone := $server.zones -}}
{{- $path := printf "servers[%d].zones[%d]" $block $index -}}
{{- if not (has ($zone.scheme | default "") (list "" "dns://")) -}}
{{- $wrong = append $wrong (printf "%s.scheme: Pando does not serve %s yet, only dns://" $path $zone.scheme) -}}
{{- end -}}
{{- if regexMatch `^[^:\[]+:[0-9]+$` ($zone.zone | default "") -}}
{{- $wrong = append $wrong (printf "%s.zone: %s has a port in it: say it in servers[%d].port" $path $zone.zone $block) -}}
{{- end -}}
{{- end -}}
{{- range $index, $plugin := $server.plugins -}}
{{- if not (has $plugin.name (concat $directives (list "import"))) -}}
{{- $wrong = append $wrong (printf "servers[%d].plugins[%d].name: Pando %s has no plugin %s" $block $index $version $plugin.name) -}}
{{- end -}}
{{- end -}}
{{- $port := include "pando.word" ($server.port | default 53) -}}
{{- range $value := list "servicePort" "nodePort" "hostPort" -}}
{{- with get $server $value -}}
{{- $said := get $bound (print $value $port) -}}
{{- if and $said (ne $said (include "pando.word" .)) -}}
{{- $wrong = append $wrong (printf "servers[%d].%s: %v, and another block of port %s says %s" $block $value . $port $said) -}}
{{- end -}}
{{- $_ := set $bound (print $value $port) (include "pando.word" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $files := dict "Corefile" true -}}
{{- range $index, $file := $values.zoneFiles -}}
{{- if hasKey $files $file.filename -}}
{{- $wrong = append $wrong (printf "zoneFiles[%d].filename: there is a file %s already" $index $file.filename) -}}
{{- end -}}
{{- $_ := set $files $file.filename true -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with $wrong -}}
{{- fail (print "these values cannot be honoured:\n  - " (join "\n  - " .) "\n") -}}
{{- end -}}
{{- end -}}
