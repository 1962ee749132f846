package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"muniment.dev/muniment/conductor/triage/action"
)

// kubernetesJob runs the job of a CronJob again, as kubectl create job --from
// does. The target cronjob/NAMESPACE/NAME is the CronJob. There are no
// parameters, and the effect lapses. The jobs are NAME-retry-1 and so on: two
// objects cannot have one name, so each number is run at most once.
//
// A job of which a run has not ended is not run again.
type kubernetesJob struct{ kubernetesAPI }

func readKubernetesJob(s *settings) Connector { return &kubernetesJob{readKubernetes(s)} }

// retries is the label of the jobs, whose value is the name of the CronJob.
const retries = "muniment.dev/retries"

// CheckAction implements Checker.
func (k *kubernetesJob) CheckAction(a *action.Action) error {
	return checkAction(a, "cronjob/", nil, nil)
}

// Undo implements Connector.
func (k *kubernetesJob) Undo() string { return action.Lapse }

// A cronJob is a target. Its members are those of the object.
type cronJob struct {
	namespace, name string
	uid             string
	members         []member
	latest          uint64 // the number of the latest retry, or 0
}

func (j *cronJob) jobs() string { return "/apis/batch/v1/namespaces/" + j.namespace + "/jobs" }

func (j *cronJob) image() Image {
	return Image(`{"retries":` + strconv.FormatUint(j.latest, 10) + `}`)
}

// Read implements Connector. The image is the number of the latest retry.
func (k *kubernetesJob) Read(ctx context.Context, target string) (Image, error) {
	j, err := k.read(ctx, target)
	if err != nil {
		return nil, err
	}
	return j.image(), nil
}

func (k *kubernetesJob) read(ctx context.Context, target string) (*cronJob, error) {
	namespace, name, err := objectNames(target, "cronjob/")
	if err != nil {
		return nil, err
	}
	j := &cronJob{namespace: namespace, name: name}
	res, err := k.do(ctx, request{method: http.MethodGet, path: "/apis/batch/v1/namespaces/" + namespace + "/cronjobs/" + name})
	if err != nil {
		return nil, err
	}
	if j.members, err = members(res.body); err != nil {
		return nil, err
	}
	if j.uid, err = insideText(j.members, "metadata", "uid"); err != nil {
		return nil, err
	}
	query := url.Values{"labelSelector": {retries + "=" + name}, "limit": {"500"}}
	res, err = k.do(ctx, request{
		method: http.MethodGet, path: j.jobs() + "?" + query.Encode(),
		header: map[string]string{"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"},
	})
	if err != nil {
		return nil, err
	}
	j.latest, err = latestRetry(res.body, name)
	return j, err
}

// latestRetry returns the largest number of the jobs in a list.
func latestRetry(list []byte, name string) (latest uint64, err error) {
	var all struct {
		Kind     string
		Metadata struct{ Continue string }
		Items    []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal(list, &all); err != nil || all.Kind != "PartialObjectMetadataList" {
		return 0, errors.New("the answer is not a list of jobs")
	}
	if all.Metadata.Continue != "" {
		return 0, errors.New("more than 500 retries of the job exist: delete some of them")
	}
	for _, item := range all.Items {
		number, ok := strings.CutPrefix(item.Metadata.Name, name+"-retry-")
		if n, err := strconv.ParseUint(number, 10, 32); ok && err == nil {
			latest = max(latest, n)
		}
	}
	return latest, nil
}

// Plan implements Connector. It refuses a job of which a run has not ended.
func (k *kubernetesJob) Plan(ctx context.Context, target string, _ map[string]string, before Image) (Image, error) {
	j, err := k.read(ctx, target)
	if err != nil {
		return nil, err
	}
	if err := k.ended(ctx, j); err != nil {
		return nil, err
	}
	return incremented(before, "retries")
}

// ended returns an error unless all runs of the job have ended.
func (k *kubernetesJob) ended(ctx context.Context, j *cronJob) error {
	active, err := inside(j.members, "status", "active")
	if err != nil {
		return err
	}
	if active != nil && string(active) != "[]" && active.Kind() != 'n' {
		return errors.New("the job is running: it is not run again")
	}
	if j.latest == 0 {
		return nil
	}
	res, err := k.do(ctx, request{method: http.MethodGet, path: fmt.Sprintf("%s/%s-retry-%d", j.jobs(), j.name, j.latest)})
	if err != nil {
		return err
	}
	var job struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if err := json.Unmarshal(res.body, &job); err != nil {
		return errors.New("the answer is not a job")
	}
	for _, c := range job.Status.Conditions {
		if c.Status == "True" && (c.Type == "Complete" || c.Type == "Failed") {
			return nil
		}
	}
	return fmt.Errorf("retry %d of the job has not ended: it is not run again", j.latest)
}

// Set implements Connector.
func (k *kubernetesJob) Set(ctx context.Context, target string, before, after Image) error {
	if next, err := incremented(before, "retries"); err != nil || !bytes.Equal(next, after) {
		return ErrChanged // a run has no other effect
	}
	j, err := k.read(ctx, target)
	if err != nil {
		return err
	}
	if !bytes.Equal(j.image(), before) {
		return ErrChanged
	}
	job, err := j.retry()
	if err != nil {
		return err
	}
	_, err = k.do(ctx, request{method: http.MethodPost, path: j.jobs() + "?fieldManager=" + fieldManager + "&fieldValidation=Strict", body: job})
	return changed(err, http.StatusConflict)
}

// retry returns the object of the next retry.
func (j *cronJob) retry() ([]byte, error) {
	spec, err := inside(j.members, "spec", "jobTemplate", "spec")
	if err != nil || spec == nil {
		return nil, errors.New("the CronJob has no template of a job")
	}
	labels := map[string]string{}
	if raw, err := inside(j.members, "spec", "jobTemplate", "metadata", "labels"); err != nil {
		return nil, err
	} else if raw != nil && json.Unmarshal(raw, &labels) != nil {
		return nil, errors.New("the labels of the job are not strings")
	}
	labels[retries] = j.name
	return json.Marshal(map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{
			"name": fmt.Sprintf("%s-retry-%d", j.name, j.latest+1), "namespace": j.namespace, "labels": labels,
			"annotations":     map[string]string{"cronjob.kubernetes.io/instantiate": "manual"},
			"ownerReferences": []map[string]any{{"apiVersion": "batch/v1", "kind": "CronJob", "name": j.name, "uid": j.uid, "controller": true}},
		},
		"spec": json.RawMessage(spec),
	})
}
