package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/oci"
)

type inventoryRegistryCmd struct {
	Registry string `arg:"" help:"Host of the registry, with its port if it has one."`
	recordFlags
	Repository []string `help:"Only this repository, without the host. May be repeated. Default: all in the registry's catalog." placeholder:"NAME"`
	remote.RegistryFlags
}

func (inventoryRegistryCmd) Help() string {
	return `Lists the images and charts that have a tag. Of an index each platform must be attested, and of a chart its archive. Attestations and signatures that are
attached to an artifact are left out, by their content: an image under a tag such as sha256-….sig counts. A tag that cannot be read counts as an artifact
without a digest. Other artifacts count as files.

Registries do not list manifests without a tag. muniment inventory cluster finds those that run.

Exit code: 0 recorded; 1 refused; 2 the registry or the server did not answer.

Examples:
  muniment inventory registry registry.example.com --environment production/eu
  muniment inventory registry registry.example.com --repository shop/web --repository charts/web --environment production/eu`
}

func (c *inventoryRegistryCmd) Run(a *term.App) error {
	var client *muniment.Client
	if !c.DryRun {
		var err error
		if client, err = c.Client(nil, nil); err != nil {
			return err
		}
	}
	host := strings.TrimSuffix(strings.TrimPrefix(c.Registry, "oci://"), "/")
	if strings.Contains(host, "/") {
		return fmt.Errorf("%s: name the host alone, and repositories with --repository", c.Registry)
	}
	options, err := c.Options()
	if err != nil {
		return err
	}
	if c.Source == "" {
		c.Source = "registry " + host
		if len(c.Repository) > 0 {
			c.Source += " " + strings.Join(c.Repository, " ")
		}
	}
	o := &observed{scope: scopeExists, at: time.Now()}
	tags := map[string]*munimentv1.InventoryItem{} // by type and digest
	attached := 0
	bar := a.ProgressCount("tags")
	err = oci.List(a.Ctx, host, c.Repository, options, func(l *oci.Listed) error {
		_ = bar.Add(1) // a bar that can't be drawn changes nothing
		name := l.Repository + ":" + l.Tag
		switch {
		case l.Err != nil:
			o.unidentified = append(o.unidentified, &munimentv1.UnidentifiedItem{Name: name, Reason: limitText(l.Err.Error(), 1000)})
			return nil
		case l.Form == oci.FormAttachment:
			attached++
			return nil
		}
		item := itemOf(l, name)
		key := item.Type + item.Artifact.Name + answer.DigestText(item.Artifact.Digest)
		if tags[key] == nil {
			tags[key] = item
			o.items = append(o.items, item)
		}
		return nil
	})
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if attached > 0 {
		o.notes = append(o.notes, term.Count(attached, "tag")+" of attached evidence left out")
	}
	report, err := c.record(a.Ctx, client, o)
	if err != nil {
		return err
	}
	return c.Print(a, report)
}

// itemOf returns the item of a tag. Its workload is the tag, as a place.
func itemOf(l *oci.Listed, name string) *munimentv1.InventoryItem {
	types := map[oci.Form]string{oci.FormChart: artifact.Chart, oci.FormOther: artifact.File}
	item := &munimentv1.InventoryItem{Type: types[l.Form], Artifact: &munimentv1.Artifact{Name: name, Digest: digestOf(l.Artifacts[0].Digest)}}
	for _, p := range partsOf(l.Artifacts) {
		item.Parts = append(item.Parts, &munimentv1.InventoryPart{Digest: p.Digest, Platform: p.Platform})
	}
	return item
}

func limitText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// sortedNames returns the members of a set.
func sortedNames(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for name := range set {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
