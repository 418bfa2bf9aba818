{{- define "evenkeel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "evenkeel.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "evenkeel.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "evenkeel.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "evenkeel.selector" -}}
app.kubernetes.io/name: {{ include "evenkeel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "evenkeel.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "evenkeel.selector" . }}
{{- end }}

{{- define "evenkeel.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "evenkeel.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "evenkeel.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* What the file holds. */ -}}
{{- define "evenkeel.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if not $config.listener }}
{{- $_ := set $config "listener" (dict "web" (dict "bind" ":8080")) }}
{{- $body := "Evenkeel is installed. The value `config` says what it serves.\n" }}
{{- $_ := set $config "route" (dict "installed" (dict "respond" (dict "body" $body))) }}
{{- end }}
{{- toPrettyJson $config }}
{{- end }}

{{- /* Where probes and metrics are asked for: the port of config.admin.http. */ -}}
{{- define "evenkeel.adminPort" -}}
{{- $http := dig "admin" "http" "" .Values.config }}
{{- if not (regexMatch ":[0-9]+$" $http) }}
{{- fail "config.admin.http has to be an address and port such as \":9901\": the probes ask there" }}
{{- end }}
{{- regexFind "[0-9]+$" $http }}
{{- end }}
