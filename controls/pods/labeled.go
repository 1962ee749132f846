package pods

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// EachLabeled calls visit with each Pod that has the label.
func (c *Cluster) EachLabeled(ctx context.Context, label string, visit func(*corev1.Pod)) error {
	options := &metav1.ListOptions{Limit: pageSize, LabelSelector: label}
	for range maxPages {
		list, err := c.list(ctx, options)
		if err != nil {
			return err
		}
		for i := range list.Items {
			visit(&list.Items[i])
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
	return fmt.Errorf("%w: more than %d pages of Pods", ErrTooMuch, maxPages)
}

// FollowLabeled calls visit with each Pod that has the label, at least once,
// and again when it changes, until the context ends. It calls contact after
// each call of the API server, with its error or nil.
func (c *Cluster) FollowLabeled(ctx context.Context, label string, visit func(*corev1.Pod), contact func(error)) {
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = label
			list, err := c.list(ctx, &o)
			contact(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector, o.Watch = label, true
			w, err := c.client.Get().Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
			contact(err)
			return w, err
		},
	}
	silent := logr.Discard() // contact reports the errors
	cache.NewReflectorWithOptions(source, &corev1.Pod{}, visitor(visit), cache.ReflectorOptions{Name: "muniment", Logger: &silent}).RunWithContext(logr.NewContext(ctx, silent))
}

// A visitor is a store that keeps nothing.
type visitor func(*corev1.Pod)

// Add implements cache.ReflectorStore.
func (v visitor) Add(object any) error { return v.Update(object) }

// Update implements cache.ReflectorStore.
func (v visitor) Update(object any) error {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("%T is not a Pod", object)
	}
	v(p)
	return nil
}

// Delete implements cache.ReflectorStore. A Pod that was created and deleted
// between two calls is visited here for the first time.
func (v visitor) Delete(object any) error {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	return v.Update(object)
}

// Replace implements cache.ReflectorStore.
func (v visitor) Replace(all []any, _ string) error {
	for _, object := range all {
		if err := v.Update(object); err != nil {
			return err
		}
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (v visitor) Resync() error { return nil }
