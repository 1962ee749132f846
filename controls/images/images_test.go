package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func fields(all []Image) []string {
	var out []string
	for _, i := range all {
		out = append(out, fmt.Sprintf("%s %s %s", i.Resource, i.Field, i.Reference))
	}
	return out
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, text     string
		paths          []Path
		known, unknown []string
	}{
		{name: "nothing", text: "---\n---\n# a comment\n"},
		{name: "pod with every place", text: `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  initContainers: [{name: a, image: init:1}]
  containers: [{name: b, image: app:1, imagePullPolicy: Always}]
  ephemeralContainers: [{name: c, image: debug:1}]
  imagePullSecrets: [{name: image}]
  volumes:
  - {name: model, image: {reference: model:1, pullPolicy: Never}}
  - {name: disk, rbd: {image: block}}
  - {name: none, image: {reference: ""}}
`, known: []string{"Pod/web spec.initContainers[0].image init:1", "Pod/web spec.containers[0].image app:1", "Pod/web spec.ephemeralContainers[0].image debug:1", "Pod/web spec.volumes[0].image.reference model:1"}},
		{name: "workloads and lists, in JSON and YAML", text: `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generateName":"d-"},"spec":{"template":{"spec":{"containers":[{"image":"a"}]}}}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: b}]}}}}}
`, known: []string{"Deployment/d- spec.template.spec.containers[0].image a", "CronJob/c spec.jobTemplate.spec.template.spec.containers[0].image b"}},
		{name: "aliases and merges", text: `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers: &c
  - &one {name: x, image: app:1}
  - {<<: *one, name: y}
  initContainers: *c
`, known: []string{"Pod/p spec.containers[0].image app:1", "Pod/p spec.containers[1].image app:1", "Pod/p spec.initContainers[0].image app:1", "Pod/p spec.initContainers[1].image app:1"}},
		{name: "unknown fields", text: `apiVersion: example.com/v1
kind: Proxy
metadata: {name: p, annotations: {sidecar.example.com/proxyImage: "proxy:1"}}
spec:
  image: proxy:2
  sidecar: {image: {repository: side, tag: "3"}}
  env: [{name: RELATED_IMAGE_X, value: "x:4"}, {name: IMAGINE, value: "no"}]
  imagePullPolicy: Always
`, unknown: []string{"Proxy/p metadata.annotations.sidecar.example.com/proxyImage proxy:1", "Proxy/p spec.image proxy:2", "Proxy/p spec.sidecar.image side:3", "Proxy/p spec.env[0].value x:4"}},
		{name: "configured", text: "apiVersion: example.com/v1\nkind: Flow\nmetadata: {name: f}\nspec: {steps: [{run: {ref: a}}, {run: {ref: b}}]}\n",
			paths: []Path{{"example.com/v1", "Flow", "spec.steps[].run.ref"}}, known: []string{"Flow/f spec.steps[0].run.ref a", "Flow/f spec.steps[1].run.ref b"}},
		{name: "an API version that is not built in", text: "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{image: a}]}}}\n",
			unknown: []string{"Deployment/d spec.template.spec.containers[0].image a"}},
		{name: "the name of a member is an alias", text: `apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {a: &i image, b: &s spec}}
*s : {containers: [{*i : app:1}]}
`, known: []string{"Pod/p spec.containers[0].image app:1"}},
		{name: "items of a kind that is not a list", text: `apiVersion: example.com/v1
kind: Bundle
items: [{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{image: app:1}]}}]
`, known: []string{"Pod/p spec.containers[0].image app:1"}},
		{name: "lists of images", text: `apiVersion: example.com/v1
kind: Cache
metadata: {name: c}
spec: {images: ["app:1", "app:2"], image: [app:3], names: [no]}
`, unknown: []string{"Cache/c spec.images[0] app:1", "Cache/c spec.images[1] app:2", "Cache/c spec.image[0] app:3"}},
		{name: "block device of a volume", text: "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: v}\nspec: {rbd: {image: disk}}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Read(strings.NewReader(c.text), c.paths)
			if err != nil {
				t.Fatal(err)
			}
			if got := fields(f.Images); !slices.Equal(got, c.known) {
				t.Errorf("images %q, want %q", got, c.known)
			}
			if got := fields(f.Unknown); !slices.Equal(got, c.unknown) {
				t.Errorf("unknown %q, want %q", got, c.unknown)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	bomb := "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("%c: &%c [*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c]\n", 'b'+i, 'b'+i, 'a'+i)
	}
	for name, c := range map[string]struct {
		text, want string
		wrapped    error
	}{
		"not YAML":        {text: "a: [", want: "not YAML"},
		"a text":          {text: "hello", want: "line 1: not a Kubernetes resource"},
		"no kind":         {text: "apiVersion: v1\n", want: "no apiVersion or no kind"},
		"duplicate":       {text: "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: a, image: b}]}\n", want: `duplicate member "image"`},
		"a binary name":   {text: "apiVersion: v1\nkind: Pod\nspec: {containers: [{!!binary aW1hZ2U=: evil}]}\n", want: "the name of a member is not a text"},
		"an aliased name": {text: "apiVersion: v1\nkind: Pod\nmetadata: {name: &n !!binary aW1hZ2U=}\n", want: "the tag !!binary is not supported"},
		"a binary value":  {text: "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: !<tag:yaml.org,2002:binary> ZXZpbA==}]}\n", want: "the tag !!binary is not supported"},
		"a binary kind":   {text: "apiVersion: v1\nkind: !!binary UG9k\nspec: {containers: []}\n", want: "the tag !!binary is not supported"},
		"binary items":    {text: "apiVersion: v1\nkind: List\nitems: []\n!!binary aXRlbXM=: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: evil}]}}]\n", want: "whose name is not a text"},
		"items twice":     {text: "apiVersion: v1\nkind: List\nitems: []\nitems: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: evil}]}}]\n", want: `duplicate member "items"`},
		"merged items":    {text: "apiVersion: v1\nkind: List\nitems: []\n<<: {items: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: evil}]}}]}\n", want: "whose name is not a text"},
		"a self-alias":    {text: "apiVersion: v1\nkind: Pod\nspec: &s {a: *s}\n", wrapped: ErrTooMuch},
		"a bomb":          {text: "apiVersion: v1\nkind: Pod\n" + bomb, wrapped: ErrTooMuch},
		"nested lists":    {text: "apiVersion: v1\nkind: List\nitems: &i [{apiVersion: v1, kind: List, items: *i}]\n", wrapped: ErrTooMuch},
		"many images":     {text: "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n" + strings.Repeat("  - {image: a}\n", MaxImages+1), wrapped: ErrTooMuch},
		"too many bytes":  {text: strings.Repeat("#", MaxBytes+1), want: "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(strings.NewReader(c.text), nil)
			if err == nil || c.want != "" && !strings.Contains(err.Error(), c.want) || c.wrapped != nil && !errors.Is(err, c.wrapped) {
				t.Errorf("got %v, want %q or %v", err, c.want, c.wrapped)
			}
		})
	}
}
