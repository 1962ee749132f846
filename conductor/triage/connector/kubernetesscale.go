package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"muniment.dev/muniment/conductor/triage/action"
)

// kubernetesScale sets the number of replicas by server-side apply of the scale
// subresource. The targets are deployment/NAMESPACE/NAME and statefulset/
// NAMESPACE/NAME, and the parameter is replicas.
//
// The resourceVersion makes it a compare-and-set. The connector owns the field
// afterwards, so another manager that applies it must force its value.
type kubernetesScale struct{ kubernetesAPI }

func readKubernetesScale(s *settings) Connector { return &kubernetesScale{readKubernetes(s)} }

// CheckAction implements Checker.
func (k *kubernetesScale) CheckAction(a *action.Action) error {
	return checkAction(a, workloadPrefix(a.Target), map[string]string{"replicas": action.Integer}, nil)
}

// Undo implements Connector.
func (k *kubernetesScale) Undo() string { return action.Restore }

// Read implements Connector. The image is the number of replicas.
func (k *kubernetesScale) Read(ctx context.Context, target string) (Image, error) {
	_, replicas, _, err := k.read(ctx, target)
	return replicas, err
}

func (k *kubernetesScale) read(ctx context.Context, target string) (w *workload, replicas Image, version string, err error) {
	if w, err = parseWorkload(target); err != nil {
		return nil, nil, "", err
	}
	res, err := k.do(ctx, request{method: http.MethodGet, path: w.path + "/scale"})
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
	raw, err := inside(all, "spec", "replicas")
	if err != nil {
		return nil, nil, "", err
	}
	if raw == nil {
		raw = []byte("0") // the API omits it
	}
	if _, err := strconv.ParseUint(string(raw), 10, 31); err != nil {
		return nil, nil, "", errors.New("spec.replicas is not a number of replicas")
	}
	return w, Image(raw), version, nil
}

// Plan implements Connector.
func (k *kubernetesScale) Plan(_ context.Context, _ string, parameters map[string]string, _ Image) (Image, error) {
	n, err := strconv.ParseUint(parameters["replicas"], 10, 31)
	if err != nil {
		return nil, errors.New("replicas must be a whole number from 0 to 2147483647")
	}
	return strconv.AppendUint(nil, n, 10), nil
}

// Set implements Connector.
func (k *kubernetesScale) Set(ctx context.Context, target string, before, after Image) error {
	for attempt := 1; ; attempt++ {
		w, now, version, err := k.read(ctx, target)
		if err != nil {
			return err
		}
		if !bytes.Equal(now, before) {
			return ErrChanged
		}
		configuration, err := json.Marshal(map[string]any{
			"apiVersion": "autoscaling/v1", "kind": "Scale",
			"metadata": map[string]string{"name": w.name, "namespace": w.namespace, "resourceVersion": version},
			"spec":     map[string]any{"replicas": json.RawMessage(after)},
		})
		if err != nil {
			return err
		}
		_, err = k.do(ctx, apply(w.path+"/scale", true, configuration))
		if !errors.Is(err, statusError(http.StatusConflict)) {
			return err
		}
		if attempt == maxConflicts {
			return fmt.Errorf("the object was changed %d times meanwhile: %w", attempt, err)
		}
	}
}
