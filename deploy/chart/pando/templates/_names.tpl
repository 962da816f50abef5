{{- /*
Names and labels. Those that begin with `coredns.` may stand in values
(`{{ template "coredns.name" . }}` in topologySpreadConstraints): people have
them there.
*/ -}}

{{- define "coredns.name" -}}
{{- .Values.nameOverride | default "coredns" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "coredns.fullname" -}}
{{- $name := include "coredns.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "coredns.k8sapplabel" -}}
{{- .Values.k8sAppLabelOverride | default "coredns" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "coredns.serviceAccountName" -}}
{{- if eq (include "pando.makesServiceAccount" .) "true" -}}
{{- .Values.serviceAccount.name | default (include "coredns.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "coredns.clusterRoleName" -}}
{{- .Values.clusterRole.nameOverride | default (include "coredns.fullname" .) -}}
{{- end -}}

{{- define "coredns.labels" -}}
{{- include "pando.labels" (dict "root" .) -}}
{{- end -}}

{{- define "pando.makesServiceAccount" -}}
{{- if kindIs "bool" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.create -}}
{{- else -}}
{{- empty .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pando.deploymentName" -}}
{{- .Values.deployment.name | default (include "coredns.fullname" .) -}}
{{- end -}}

{{- define "pando.serviceName" -}}
{{- .Values.service.name | default (include "coredns.fullname" .) -}}
{{- end -}}

{{- /* What tells our Pods from all others; `suffix` is -autoscaler or nothing. */ -}}
{{- define "pando.selector" -}}
{{- $root := .root -}}
{{- $labels := dict
      "app.kubernetes.io/instance" $root.Release.Name
      "app.kubernetes.io/name" (print (include "coredns.name" $root) .suffix) -}}
{{- if $root.Values.isClusterService -}}
{{- $_ := set $labels "k8s-app" (print (include "coredns.k8sapplabel" $root) .suffix) -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{- /* Labels of an object; `more` are its own. */ -}}
{{- define "pando.labels" -}}
{{- $root := .root -}}
{{- $labels := include "pando.selector" (dict "root" $root "suffix" (.suffix | default "")) | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- if $root.Values.isClusterService -}}
{{- $_ := set $labels "kubernetes.io/cluster-service" "true" -}}
{{- $_ := set $labels "kubernetes.io/name" "CoreDNS" -}}
{{- end -}}
{{- toYaml (mergeOverwrite $labels (deepCopy (.more | default dict)) (deepCopy $root.Values.customLabels)) -}}
{{- end -}}

{{- /* `annotations:` of a list of maps, the later over the earlier; nothing where there are none. */ -}}
{{- define "pando.annotations" -}}
{{- $all := dict -}}
{{- range . -}}
{{- $all = mergeOverwrite $all (deepCopy (. | default dict)) -}}
{{- end -}}
{{- with $all -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "pando.priorityClassName" -}}
{{- if .Values.priorityClassName -}}
{{- .Values.priorityClassName -}}
{{- else if and .Values.isClusterService (eq .Release.Namespace "kube-system") -}}
system-cluster-critical
{{- end -}}
{{- end -}}
