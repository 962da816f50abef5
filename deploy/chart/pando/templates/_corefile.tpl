{{- /* A word of values as the user wrote it: YAML's numbers are floats here, and 1000000 would become 1e+06. */ -}}
{{- define "pando.word" -}}
{{- if and (kindIs "float64" .) (eq (float64 (int64 .)) .) -}}
{{- int64 . -}}
{{- else if not (kindIs "invalid" .) -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "pando.corefile" -}}
{{- range $name, $line := .Values.extraConfig }}
{{- printf "%s %s" $name (include "pando.word" (dig "parameters" "" ($line | default dict))) | trim }}
{{ end -}}
{{- range $index, $server := .Values.servers }}
{{- if $index }}
{{ end -}}
{{- $keys := list -}}
{{- range .zones | default (list dict) -}}
{{- $keys = append $keys (printf "%s%s:%s" (.scheme | default "") (.zone | default ".") (include "pando.word" ($server.port | default 53))) -}}
{{- end -}}
{{ join " " $keys }} {
{{- range .plugins }}
    {{ printf "%s %s" .name (include "pando.word" .parameters) | trim }}
{{- with .configBlock }} {
{{- range splitList "\n" (trimAll "\n" .) }}
        {{ . | trimSuffix "\r" }}
{{- end }}
    }
{{- end }}
{{- end }}
}
{{ end -}}
{{- end -}}

{{- /*
What the rest of the chart has to know of the Corefile, as JSON:
known      whether `servers` is all of it
health, ready, metrics  ports, as text; "" where there is none
kubernetes, pods, multicluster  what is watched
*/ -}}
{{- define "pando.facts" -}}
{{- $facts := dict "known" (and (not .Values.extraConfig) (not .Values.deployment.skipConfig)) "health" "" "ready" "" "metrics" "" "kubernetes" false "pods" false "multicluster" false -}}
{{- $ports := dict "health" "8080" "ready" "8181" "prometheus" "9153" -}}
{{- range .Values.servers -}}
{{- range .plugins -}}
{{- $parameters := include "pando.word" .parameters -}}
{{- $block := .configBlock | default "" -}}
{{- if or (eq .name "import") (regexMatch `(?m)^\s*import\s` $block) -}}
{{- $_ := set $facts "known" false -}}
{{- end -}}
{{- if hasKey $ports .name -}}
{{- $fact := eq .name "prometheus" | ternary "metrics" .name -}}
{{- if not (get $facts $fact) -}}
{{- $_ := set $facts $fact (regexFind `[0-9]+$` (splitList " " $parameters | first) | default (get $ports .name)) -}}
{{- end -}}
{{- end -}}
{{- if eq .name "autopath" -}}
{{- $_ := set $facts "pods" true -}}
{{- end -}}
{{- if eq .name "kubernetes" -}}
{{- $_ := set $facts "kubernetes" true -}}
{{- if regexMatch `(?m)^\s*(pods\s+verified|node\s)` $block -}}
{{- $_ := set $facts "pods" true -}}
{{- end -}}
{{- if regexMatch `(?m)^\s*multicluster\s` $block -}}
{{- $_ := set $facts "multicluster" true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $facts.known -}}
{{- $facts = mergeOverwrite (deepCopy $facts) (dict
      "health" ($facts.health | default "8080")
      "ready" ($facts.ready | default "8181")
      "metrics" ($facts.metrics | default "9153")
      "kubernetes" true
      "pods" true) -}}
{{- end -}}
{{- toJson $facts -}}
{{- end -}}
