{{- define "muniment.labels" -}}
app.kubernetes.io/name: muniment
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "muniment.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "muniment.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "muniment.container" -}}
image: {{ include "muniment.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The probes of a health listener, whose scheme is .scheme. */ -}}
{{- define "muniment.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health, scheme: {{ .scheme }}}
  periodSeconds: 2
  failureThreshold: {{ .patience | default 30 }}
livenessProbe:
  httpGet: {path: /healthz, port: health, scheme: {{ .scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "muniment.spread" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "muniment.labels" . | nindent 14 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "muniment.labels" . | nindent 8 }}
{{- end -}}

{{- define "muniment.pvc" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests: {storage: {{ .size }}}
{{- end -}}

{{- /* The URLs that decide, one a line. */ -}}
{{- define "muniment.servers" -}}
{{- with .Values.admission.servers -}}
{{ join "\n" . }}
{{- else -}}
{{- if .Values.replica.enabled -}}
{{- range $i := until (int .Values.replica.replicas) -}}
https://{{ $.Release.Name }}-replica-{{ $i }}.{{ $.Release.Name }}-replica.{{ $.Release.Namespace }}.svc:7480
{{ end -}}
{{- else if .Values.ledger.enabled -}}
{{ include "muniment.ledgerURL" . }}
{{- else -}}
{{- fail "admission has nothing to ask: set admission.servers, or enable replica or ledger" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "muniment.ledgerURL" -}}
{{- if .Values.ledger.enabled -}}
{{- if .Values.ledger.url }}{{ fail "ledger.url is for a ledger elsewhere: set ledger.enabled to false, or remove it" }}{{ end -}}
https://{{ .Release.Name }}-ledger.{{ .Release.Namespace }}.svc:7480
{{- else -}}
{{ required "the ledger is not part of this release: set ledger.url" .Values.ledger.url }}
{{- end -}}
{{- end -}}

{{- /* The file with the authority of the ledger's certificate, or "". */ -}}
{{- define "muniment.ledgerCA" -}}
{{- if .Values.ledger.enabled -}}
/etc/muniment/tls/ca.crt
{{- else if .Values.ledger.caSecret -}}
/etc/muniment/ledger/ca.crt
{{- end -}}
{{- end -}}

{{- /* The mount and the volume of that file, where it is not in the Pod's own tlsSecret. */ -}}
{{- define "muniment.ledgerMount" -}}
{{- if and (not .Values.ledger.enabled) .Values.ledger.caSecret -}}
- {name: ledger, mountPath: /etc/muniment/ledger, readOnly: true}
{{- end -}}
{{- end -}}
{{- define "muniment.ledgerVolume" -}}
{{- if and (not .Values.ledger.enabled) .Values.ledger.caSecret -}}
- name: ledger
  secret: {secretName: {{ .Values.ledger.caSecret }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end -}}
{{- end -}}

{{- /* The port of a URL. */ -}}
{{- define "muniment.port" -}}
{{ regexFind ":[0-9]+$" . | trimPrefix ":" | default "443" }}
{{- end -}}

{{- /* The rule of a NetworkPolicy for the Pods that read metrics. */ -}}
{{- define "muniment.monitored" -}}
- ports: [{port: health}]
  from:
    - namespaceSelector:
        {{- toYaml .Values.networkPolicy.monitoring | nindent 8 }}
{{- end -}}

{{- /* The rule of a NetworkPolicy for calls of the ledger. */ -}}
{{- define "muniment.toLedger" -}}
{{- if .Values.ledger.enabled -}}
- to: [{podSelector: {matchLabels: {{ include "muniment.labels" (dict "root" . "part" "ledger") | fromYaml | toJson }}}}]
  ports: [{port: 7480}]
{{- else -}}
- ports: [{port: {{ include "muniment.ledgerURL" . | include "muniment.port" }}}]
{{- end -}}
{{- end -}}

{{- /* What all webhooks have in common. Their path is .path. */ -}}
{{- define "muniment.webhook" -}}
admissionReviewVersions: [v1]
matchPolicy: Equivalent
clientConfig:
  {{- with .root.Values.webhooks.caBundle }}
  caBundle: {{ . }}
  {{- end }}
  {{- if .root.Values.webhooks.url }}
  url: {{ .root.Values.webhooks.url }}{{ .path }}
  {{- else }}
  service:
    namespace: {{ .root.Release.Namespace }}
    name: {{ .root.Release.Name }}-admission
    path: {{ .path }}
    port: 443
  {{- end }}
# The label is set by the API server and cannot be changed.
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values:
        {{- concat (list "kube-system" .root.Release.Namespace) .root.Values.webhooks.exemptNamespaces | uniq | toYaml | nindent 8 }}
{{- end }}

{{- /* Which requests for Pods are sent to a webhook. */ -}}
{{- define "muniment.podConditions" -}}
matchConditions:
  # Works while every webhook is dead. A ValidatingAdmissionPolicy guards the label.
  - name: not-break-glass
    expression: >-
      !(request.operation == "CREATE" && has(object.metadata.labels) && "muniment.dev/break-glass" in object.metadata.labels)
  # A change of anything but images starts nothing new. So a dead webhook blocks no controller, and no deletion.
  - name: images-changed
    expression: >-
      request.operation == "CREATE" ||
      object.spec.containers.map(c, c.image) != oldObject.spec.containers.map(c, c.image) ||
      (has(object.spec.initContainers) ? object.spec.initContainers.map(c, c.image) : []) !=
      (has(oldObject.spec.initContainers) ? oldObject.spec.initContainers.map(c, c.image) : [])
  # A node reports a static Pod that it runs already. To refuse the report would only hide the Pod.
  - name: not-mirror-pod
    expression: >-
      !("system:nodes" in request.userInfo.groups && has(object.metadata.annotations) &&
      "kubernetes.io/config.mirror" in object.metadata.annotations)
{{- end }}
