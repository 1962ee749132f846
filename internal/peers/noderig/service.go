package noderig

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
)

// A service forwards connections from its cluster IP to Pods that are ready.
type service struct {
	address   string // "" for a service whose name is that of its Pods
	listeners []net.Listener

	mu       sync.Mutex
	backends []*container
	next     int
}

type serviceSpec struct {
	Metadata struct{ Name string }
	Spec     struct {
		ClusterIP                string
		PublishNotReadyAddresses bool
		Selector                 map[string]string
		Ports                    []struct {
			Port       int
			TargetPort any
		}
	}
}

// reconcileServices opens the services of the namespace, and finds the Pods
// behind them.
func (n *Node) reconcileServices(ctx context.Context) error {
	var list struct{ Items []serviceSpec }
	if err := n.get(ctx, "/api/v1/namespaces/"+n.Namespace+"/services", &list); err != nil {
		return err
	}
	for _, spec := range list.Items {
		s := n.services[spec.Metadata.Name]
		if s == nil {
			var err error
			if s, err = openService(spec); err != nil {
				return fmt.Errorf("service %s: %w", spec.Metadata.Name, err)
			}
			n.services[spec.Metadata.Name] = s
		}
		s.find(ctx, spec, n.running)
	}
	return nil
}

func openService(spec serviceSpec) (*service, error) {
	if spec.Spec.ClusterIP == "None" {
		return &service{}, nil
	}
	s := &service{address: spec.Spec.ClusterIP}
	if err := addAddress(s.address); err != nil {
		return nil, err
	}
	for _, p := range spec.Spec.Ports {
		l, err := net.Listen("tcp", net.JoinHostPort(s.address, fmt.Sprint(p.Port)))
		if err != nil {
			s.close()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
		go s.serve(l, fmt.Sprint(p.TargetPort))
	}
	return s, nil
}

func addAddress(address string) error {
	if out, err := exec.Command("ip", "address", "add", address+"/32", "dev", "lo").CombinedOutput(); err != nil {
		return fmt.Errorf("ip address add: %w\n%s", err, out)
	}
	return nil
}

// find replaces the Pods behind the service.
func (s *service) find(ctx context.Context, spec serviceSpec, running map[string]*container) {
	var backends []*container
	for _, c := range running {
		if matches(spec.Spec.Selector, c.labels) && (spec.Spec.PublishNotReadyAddresses && !c.ended() || c.ready(ctx)) {
			backends = append(backends, c)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backends = backends
}

// addresses returns what the name of the service leads to.
func (s *service) addresses() (all []string) {
	if s.address != "" {
		return []string{s.address}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.backends {
		all = append(all, c.address)
	}
	return all
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// backend returns the Pods in turn, or nil if none is ready.
func (s *service) backend() *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.backends) == 0 {
		return nil
	}
	s.next++
	return s.backends[s.next%len(s.backends)]
}

// serve forwards connections until the listener is closed.
func (s *service) serve(l net.Listener, target string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go s.forward(client, target)
	}
}

func (s *service) forward(client net.Conn, target string) {
	defer client.Close()
	c := s.backend()
	if c == nil {
		return
	}
	server, err := net.Dial("tcp", net.JoinHostPort(c.address, c.port(target)))
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, client); server.Close() }()
	_, _ = io.Copy(client, server)
}

func (s *service) close() {
	for _, l := range s.listeners {
		l.Close()
	}
}
