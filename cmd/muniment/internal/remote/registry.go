package remote

import (
	"fmt"

	"muniment.dev/muniment/internal/publicaddr"
	"muniment.dev/muniment/verifiers/oci"
)

// RegistryFlags configure the connection to a registry.
type RegistryFlags struct {
	AllowAddress []string `help:"Non-public address or network to which the registry may redirect, or where its token service runs, which must have a name. May be repeated." placeholder:"IP|PREFIX"`
	PlainHTTP    bool     `name:"plain-http" help:"Use HTTP if the registry has no TLS. Not needed for registries on this machine."`
}

// Open returns the registry of a reference. It does not connect.
func (f *RegistryFlags) Open(reference string) (*oci.Registry, error) {
	allowed, err := publicaddr.Parse(f.AllowAddress)
	if err != nil {
		return nil, fmt.Errorf("--allow-address: %w", err)
	}
	return oci.Open(reference, oci.Options{PlainHTTP: f.PlainHTTP, Allowed: allowed})
}
