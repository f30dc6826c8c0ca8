{{- define "labels" -}}
app.kubernetes.io/name: policy-agent
app.kubernetes.io/part-of: policy-agent
{{- end }}
