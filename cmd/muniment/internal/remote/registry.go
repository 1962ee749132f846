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
	o, err := f.Options()
	if err != nil {
		return nil, err
	}
	return oci.Open(reference, o)
}

// Options returns the options of the connection.
func (f *RegistryFlags) Options() (oci.Options, error) {
	allowed, err := publicaddr.Parse(f.AllowAddress)
	if err != nil {
		return oci.Options{}, fmt.Errorf("--allow-address: %w", err)
	}
	return oci.Options{PlainHTTP: f.PlainHTTP, Allowed: allowed}, nil
}
