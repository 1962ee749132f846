package connector

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"muniment.dev/muniment/conductor/triage/action"
)

// kubernetesRestart replaces the Pods of a workload, as kubectl rollout restart
// does: it sets an annotation of the Pod template by server-side apply. The
// targets are deployment/NAMESPACE/NAME and statefulset/NAMESPACE/NAME. There
// are no parameters, and the effect lapses. The resourceVersion makes it a
// compare-and-set.
type kubernetesRestart struct{ kubernetesAPI }

// restarted is the annotation. Its values are random.
const restarted = "muniment.dev/restarted"

func readKubernetesRestart(s *settings) Connector { return &kubernetesRestart{readKubernetes(s)} }

// CheckAction implements Checker.
func (k *kubernetesRestart) CheckAction(a *action.Action) error {
	return checkAction(a, workloadPrefix(a.Target), nil, nil)
}

// Undo implements Connector.
func (k *kubernetesRestart) Undo() string { return action.Lapse }

// Read implements Connector. The image is the annotation as JSON.
func (k *kubernetesRestart) Read(ctx context.Context, target string) (Image, error) {
	_, image, _, err := k.read(ctx, target)
	return image, err
}

func (k *kubernetesRestart) read(ctx context.Context, target string) (w *workload, image Image, version string, err error) {
	if w, err = parseWorkload(target); err != nil {
		return nil, nil, "", err
	}
	res, err := k.do(ctx, request{method: http.MethodGet, path: w.path})
	if err != nil {
		return nil, nil, "", err
	}
	all, err := members(res.body)
	if err != nil {
		return nil, nil, "", err
	}
	if version, err = insideText(all, "metadata", "resourceVersion"); err != nil {
		return nil, nil, "", err
	}
	if _, err = find(all, "spec"); err != nil {
		return nil, nil, "", err
	}
	raw, err := inside(all, "spec", "template", "metadata", "annotations", restarted)
	if err != nil {
		return nil, nil, "", err
	}
	if raw == nil {
		raw = []byte("null")
	}
	if len(raw) > maxImage {
		return nil, nil, "", fmt.Errorf("the annotation %s is too large", restarted)
	}
	return w, Image(raw), version, nil
}

// Plan implements Connector.
func (k *kubernetesRestart) Plan(context.Context, string, map[string]string, Image) (Image, error) {
	return json.Marshal(rand.Text())
}

// Set implements Connector.
func (k *kubernetesRestart) Set(ctx context.Context, target string, before, after Image) error {
	for attempt := 1; ; attempt++ {
		w, now, version, err := k.read(ctx, target)
		if err != nil {
			return err
		}
		if !bytes.Equal(now, before) {
			return ErrChanged
		}
		configuration, err := json.Marshal(map[string]any{
			"apiVersion": "apps/v1", "kind": w.kind,
			"metadata": map[string]string{"name": w.name, "namespace": w.namespace, "resourceVersion": version},
			"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
				"annotations": map[string]any{restarted: json.RawMessage(after)},
			}}},
		})
		if err != nil {
			return err
		}
		_, err = k.do(ctx, apply(w.path, false, configuration))
		if !errors.Is(err, statusError(http.StatusConflict)) {
			return err
		}
		if attempt == maxConflicts {
			return fmt.Errorf("the object was changed %d times meanwhile: %w", attempt, err)
		}
	}
}
