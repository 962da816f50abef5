{{- /*
The ports of `servers`, as JSON: by number in text, each with `service` (its
port at the Service), `node`, `host` (0 where there is none), `udp` and `tcp`.
As in the coredns chart a zone is served over UDP, and over TCP with use_tcp.
*/ -}}
{{- define "pando.ports" -}}
{{- $ports := dict -}}
{{- range .Values.servers -}}
{{- $number := include "pando.word" (.port | default 53) -}}
{{- $port := get $ports $number | default (dict "service" 0 "node" 0 "host" 0 "udp" true "tcp" false) -}}
{{- if not $port.service -}}{{- $_ := set $port "service" (int .servicePort) -}}{{- end -}}
{{- if not $port.node -}}{{- $_ := set $port "node" (int .nodePort) -}}{{- end -}}
{{- if not $port.host -}}{{- $_ := set $port "host" (int .hostPort) -}}{{- end -}}
{{- range .zones -}}
{{- if .use_tcp -}}{{- $_ := set $port "tcp" true -}}{{- end -}}
{{- end -}}
{{- $_ := set $ports $number $port -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{- define "pando.servicePorts" -}}
{{- range $number, $port := include "pando.ports" . | fromJson }}
{{- range $protocol := list "udp" "tcp" }}
{{- if get $port $protocol }}
- name: {{ $protocol }}-{{ $number }}
  protocol: {{ upper $protocol }}
  port: {{ $port.service | default $number }}
  targetPort: {{ $number }}
  {{- with $port.node }}
  nodePort: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "pando.containerPorts" -}}
{{- $ports := include "pando.ports" . | fromJson }}
{{- range $number, $port := $ports }}
{{- range $protocol := list "udp" "tcp" }}
{{- if get $port $protocol }}
- name: {{ $protocol }}-{{ $number }}
  protocol: {{ upper $protocol }}
  containerPort: {{ $number }}
  {{- with $port.host }}
  hostPort: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with (include "pando.facts" . | fromJson).metrics }}
- name: tcp-{{ . }}
  protocol: TCP
  containerPort: {{ . }}
{{- end }}
{{- end -}}
