package pods

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"muniment.dev/muniment/internal/bounded"
)

// Bounds of what a cluster answers.
const (
	pageSize    = 500
	maxPages    = 10_000
	maxResponse = 512 << 20 // bytes of one list
)

// A Cluster is a connection to an API server.
type Cluster struct {
	client rest.Interface
	host   string
}

// Connect returns the cluster of a kubeconfig and one of its contexts. Without
// a path they are those of kubectl, or the cluster in which the program runs.
// It does not connect.
func Connect(kubeconfig, kubecontext string) (*Cluster, error) {
	config, err := load(kubeconfig, &clientcmd.ConfigOverrides{CurrentContext: kubecontext})
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config.APIPath, config.GroupVersion, config.UserAgent = "/api", &corev1.SchemeGroupVersion, "muniment"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return limited{rt} })
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{client, config.Host}, nil
}

// load returns the configuration of a client. An interrupt ends the read of a
// kubeconfig.
func load(kubeconfig string, overrides *clientcmd.ConfigOverrides) (*rest.Config, error) {
	if kubeconfig == "" {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
		if err != nil {
			return nil, notKubeconfig(rules, err)
		}
		return config, nil
	}
	text, err := bounded.ReadFile(kubeconfig, bounded.Config)
	if err != nil {
		return nil, err
	}
	parsed, err := clientcmd.Load(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a kubeconfig", kubeconfig)
	}
	for _, c := range parsed.Clusters { // files are relative to the kubeconfig
		c.LocationOfOrigin = kubeconfig
	}
	for _, a := range parsed.AuthInfos {
		a.LocationOfOrigin = kubeconfig
	}
	if err := clientcmd.ResolveLocalPaths(parsed); err != nil {
		return nil, err
	}
	return clientcmd.NewDefaultClientConfig(*parsed, overrides).ClientConfig()
}

// notKubeconfig returns an error about the first file that is no kubeconfig, or
// else err. The parser's own error could show parts of a secret.
func notKubeconfig(rules *clientcmd.ClientConfigLoadingRules, err error) error {
	for _, path := range rules.GetLoadingPrecedence() {
		var missing *fs.PathError
		if _, bad := clientcmd.LoadFromFile(path); bad != nil && !errors.As(bad, &missing) {
			return fmt.Errorf("%s is not a kubeconfig", path)
		}
	}
	if clientcmd.IsEmptyConfig(err) {
		return errors.New("there is no kubeconfig, and the program does not run in a Pod: specify a file, or set KUBECONFIG")
	}
	return err
}

// A limited transport ends answers that exceed the limit. A watch has none.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Query().Get("watch") == "" {
		resp.Body = &limitedBody{resp.Body, maxResponse}
	}
	return resp, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("%w: an answer of more than %d bytes", ErrTooMuch, maxResponse)
	}
	return n, err
}

// ID returns a text that identifies the cluster: the UID of the namespace
// kube-system, which lives as long as it, or the address if it is not readable.
func (c *Cluster) ID(ctx context.Context) string {
	ns := &corev1.Namespace{}
	if err := c.client.Get().Resource("namespaces").Name(metav1.NamespaceSystem).Do(ctx).Into(ns); err != nil || ns.UID == "" {
		return c.host
	}
	return string(ns.UID)
}

// Count counts what the Pods of all namespaces run.
func (c *Cluster) Count(ctx context.Context) (*Tally, error) {
	t := &Tally{}
	options := &metav1.ListOptions{Limit: pageSize}
	for page := 0; ; page++ {
		if page == maxPages {
			return nil, fmt.Errorf("%w: more than %d pages of Pods", ErrTooMuch, maxPages)
		}
		list, err := c.list(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if err := t.Add(&list.Items[i]); err != nil {
				return nil, err
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return t, nil
		}
	}
}

func (c *Cluster) list(ctx context.Context, o *metav1.ListOptions) (*corev1.PodList, error) {
	list := &corev1.PodList{}
	err := c.client.Get().Resource("pods").VersionedParams(o, metav1.ParameterCodec).Do(ctx).Into(list)
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	return list, nil
}

// A Follower follows the Pods of a cluster. It lists them, watches them from
// the resource version of the list, and lists them again if the API server no
// longer has it.
type Follower struct {
	mu     sync.Mutex
	pods   map[string]*corev1.Pod // by namespace and name
	since  *Tally                 // what ran since the last call of Take
	failed error                  // it cannot go on
	broken error                  // of the last call; nil: it is in contact
	synced chan struct{}          // closed after the first list
	once   sync.Once
	change chan struct{} // closed at the next change
}

// NewFollower returns a follower that has seen nothing.
func NewFollower() *Follower {
	return &Follower{pods: map[string]*corev1.Pod{}, since: &Tally{}, synced: make(chan struct{}), change: make(chan struct{})}
}

// Changed returns a channel that is closed when Pods or the contact to the API
// server change next.
func (f *Follower) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change
}

// update changes the follower.
func (f *Follower) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.change)
	f.change = make(chan struct{})
}

// Run follows the cluster until the context ends. It calls failed with each
// error of the API server, after which it tries again.
func (f *Follower) Run(ctx context.Context, c *Cluster, failed func(error)) {
	contact := func(err error) {
		f.update(func() { f.broken = err })
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := c.list(ctx, &o)
			contact(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			w, err := c.client.Get().Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
			contact(err)
			return w, err
		},
	}
	silent := logr.Discard() // failed reports the errors
	cache.NewReflectorWithOptions(source, &corev1.Pod{}, f, cache.ReflectorOptions{Name: "muniment", Logger: &silent}).RunWithContext(logr.NewContext(ctx, silent))
}

// Synced is closed once all Pods were listed.
func (f *Follower) Synced() <-chan struct{} { return f.synced }

// Take returns what has run since the last call, or since the beginning. What
// runs no longer has no replicas.
func (f *Follower) Take() (*Tally, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmp.Or(f.failed, f.broken); err != nil { // the Pods may be others now
		return nil, err
	}
	now := &Tally{}
	for _, p := range f.pods {
		if err := now.Add(p); err != nil {
			return nil, err
		}
	}
	err := now.Merge(f.since)
	f.since = &Tally{}
	return now, err
}

// Add implements cache.ReflectorStore.
func (f *Follower) Add(object any) error { return f.Update(object) }

// Update implements cache.ReflectorStore.
func (f *Follower) Update(object any) error {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("%T is not a Pod", object)
	}
	f.update(func() { f.note(p) })
	return nil
}

// note keeps a Pod and what it runs.
func (f *Follower) note(p *corev1.Pod) {
	p.ManagedFields = nil // which are most of it
	f.pods[p.Namespace+"/"+p.Name] = p
	if err := f.since.Add(p); err != nil {
		f.failed = err
	}
}

// Delete implements cache.ReflectorStore.
func (f *Follower) Delete(object any) error {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	p, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("%T is not a Pod", object)
	}
	f.update(func() { delete(f.pods, p.Namespace+"/"+p.Name) })
	return nil
}

// Replace implements cache.ReflectorStore.
func (f *Follower) Replace(all []any, _ string) error {
	listed := make([]*corev1.Pod, len(all))
	for i, object := range all {
		p, ok := object.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("%T is not a Pod", object)
		}
		listed[i] = p
	}
	f.update(func() {
		clear(f.pods)
		for _, p := range listed {
			f.note(p)
		}
	})
	f.once.Do(func() { close(f.synced) })
	return nil
}

// Resync implements cache.ReflectorStore.
func (f *Follower) Resync() error { return nil }
