package admission

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/safetext"
)

// maxImages is the number of different images of one resource that are decided.
const maxImages = 512

// review answers a request.
func (h *Handler) review(ctx context.Context, path string, req *request) (*response, string) {
	action, why := rule(path, req)
	switch action {
	case toAllow:
		return &response{Allowed: true}, answerAllowed
	case toPass:
		return &response{Allowed: true, Warnings: warnings([]string{"muniment: not checked: " + why})}, answerWarned
	case toRefuse:
		return denied("muniment: " + why), answerDenied
	}
	c := &check{Handler: h, request: req, action: action}
	if c.row = h.config.Load().Row(req.Namespace); c.row == nil {
		return c.without("namespace %s has no row in the configuration of muniment admission, so nothing may run in it: add it to namespaces", safetext.Quoted(req.Namespace))
	}
	if err := c.find(ctx); err != nil {
		return c.without("can't decide about the images of the resource: %s", cut(safetext.Quoted(err.Error()), 500))
	}
	if action == toResolve {
		return c.resolve(ctx)
	}
	return c.decide(ctx)
}

func denied(text string) *response {
	return &response{Status: &status{Message: text, Reason: "Forbidden", Code: http.StatusForbidden}}
}

// A check is the answer to one request.
type check struct {
	*Handler
	*request
	action action
	row    *Row
	images []images.Image
	fields []images.Image // that look like images
	advice []string       // of which the control set only warns
	begun  map[string]*tag
}

// lenient reports whether the resource is allowed whatever its images are.
func (c *check) lenient() bool { return c.action == toAdvise || c.row != nil && c.row.Mode != Enforce }

// without answers a request that can't be decided at all.
func (c *check) without(format string, args ...any) (*response, string) {
	text := "muniment: " + fmt.Sprintf(format, args...)
	if c.lenient() {
		return &response{Allowed: true, Warnings: c.warnings([]string{text})}, answerWarned
	}
	return denied(text), answerDenied
}

// warnings returns the warnings that the mode sends.
func (c *check) warnings(all []string) []string {
	if c.row != nil && c.row.Mode == Audit {
		return nil
	}
	return warnings(all)
}

// find finds the images that the request adds. Those that the Pod has already
// in the same place were decided before, and may stay.
func (c *check) find(ctx context.Context) error {
	now, err := object(c.Object)
	if err != nil {
		return err
	}
	if now == nil {
		return fmt.Errorf("the request has no object")
	}
	if kind, version := now.Text("kind"), now.Text("apiVersion"); kind != c.Kind.Kind || version != c.Kind.apiVersion() {
		return fmt.Errorf("the object is a %s of %s, and not a %s of %s", safetext.Quoted(kind), safetext.Quoted(version), c.Kind.Kind, c.Kind.apiVersion())
	}
	old, err := object(c.OldObject)
	if err != nil {
		return err
	}
	if c.Operation == "UPDATE" && old != nil {
		// What changes no image passes without a replica. Otherwise Pods could
		// not even be ended while none answers.
		err := c.compare(now, old, c.decider.lastControlSet())
		if err != nil || len(c.images)+len(c.fields) == 0 {
			return err
		}
	} else {
		old = nil
	}
	set, err := c.decider.controlSet(ctx)
	if err != nil {
		return err
	}
	return c.compare(now, old, set)
}

// compare notes what the object has, and the old one has not. The old one can
// be nil.
func (c *check) compare(now, old *images.Resource, set *controlSetAnswer) error {
	found, err := now.Find(set.paths)
	if err != nil {
		return err
	}
	before := &images.Found{}
	if old != nil {
		if before, err = old.Find(set.paths); err != nil {
			return err
		}
	}
	c.images, c.fields = added(found.Images, before.Images), added(found.Unknown, before.Unknown)
	if set.warnUnknown {
		c.advice = nil
		for _, i := range c.fields {
			u := answer.UnknownField{Resource: i.Resource, Field: i.Field, Reference: i.Reference}
			c.advice = append(c.advice, u.String())
		}
		c.fields = nil
	}
	return nil
}

// added returns the images that are not in the same place of the old object.
func added(now, old []images.Image) []images.Image {
	had := map[[2]string]bool{}
	for _, i := range old {
		had[[2]string{i.Field, i.Reference}] = true
	}
	return slices.DeleteFunc(slices.Clone(now), func(i images.Image) bool { return had[[2]string{i.Field, i.Reference}] })
}

// resolve answers with the digests of the tags.
func (c *check) resolve(ctx context.Context) (*response, string) {
	var patches []patch
	if c.row.Resolve {
		begun := c.lookUp()
		if len(begun) > maxImages {
			return c.without("the resource has more than %d tags", maxImages)
		}
		for _, i := range c.images {
			if begun[i.Reference] == nil {
				continue // pinned, or malformed, which is denied later
			}
			pinned, err := begun[i.Reference].wait(ctx)
			if err != nil {
				return c.without("the tag of %s in %s can't be resolved: %s", safetext.Quoted(i.Reference), i.Field, err)
			}
			patches = append(patches, patch{"replace", pointer(i.Field), pinned})
		}
	}
	res := &response{Allowed: true}
	if len(patches) > 0 {
		text, err := json.Marshal(patches)
		if err != nil {
			return c.without("%s", err)
		}
		res.PatchType, res.Patch = "JSONPatch", text
	}
	return res, answerAllowed
}

// lookUp begins to resolve the tags of all images, and one more than may be.
func (c *check) lookUp() map[string]*tag {
	begun := map[string]*tag{}
	for _, i := range c.images {
		if !strings.Contains(i.Reference, "@") && begun[i.Reference] == nil && len(begun) <= maxImages {
			begun[i.Reference] = c.tags.begin(i.Reference)
		}
	}
	return begun
}

var indexed = regexp.MustCompile(`\[(\d+)\]`)

// pointer returns the JSON pointer to a known field of a Pod, whose names have
// no characters that are escaped.
func pointer(field string) string {
	return "/" + strings.ReplaceAll(indexed.ReplaceAllString(field, "/$1"), ".", "/")
}

// decide answers by the decisions about the images.
func (c *check) decide(ctx context.Context) (*response, string) {
	verdicts := c.verdicts(ctx)
	at := answer.AtStage(c.row.Stage, c.row.Environment)
	var bad []*verdict
	advice := c.advice
	for _, v := range verdicts {
		if late := v.stale > 0; !v.passes() || late && !c.row.WarnStale {
			bad = append(bad, v)
		} else if late {
			advice = append(advice, staleText(v, c.maxAge))
		}
		advice = append(advice, v.advice()...)
	}
	audit := map[string]string{"stage": c.row.Stage, "environment": c.row.Environment, "mode": string(c.row.Mode), "images": strconv.Itoa(len(verdicts)), "refused": strconv.Itoa(len(bad))}
	if len(bad) == 0 {
		return &response{Allowed: true, Warnings: c.warnings(prefixed("muniment: ", advice)), Audit: audit}, answerAllowed
	}
	if c.lenient() {
		var all []string
		for _, v := range bad {
			all = append(all, c.brief(v)...)
		}
		return &response{Allowed: true, Warnings: c.warnings(append(prefixed("muniment would deny ", all), prefixed("muniment: ", advice)...)), Audit: audit}, answerWarned
	}
	var b strings.Builder
	fmt.Fprintf(&b, "muniment: %d of %s may not run in namespace %s\n", len(bad), safetext.Count(len(verdicts), "image"), safetext.Quoted(c.Namespace))
	for _, v := range bad {
		if v.passes() {
			fmt.Fprintf(&b, "%s\n", staleText(v, c.maxAge))
			continue
		}
		v.write(&b, at)
	}
	more := "muniment gate --stage " + c.row.Stage
	if c.row.Environment != "" {
		more += " --environment " + safetext.Quoted(c.row.Environment)
	}
	res := denied(message(b.String(), more))
	res.Warnings, res.Audit = c.warnings(prefixed("muniment: ", advice)), audit
	return res, answerDenied
}

func prefixed(prefix string, all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = prefix + s
	}
	return out
}

// brief returns the reasons for a refusal in one line each.
func (c *check) brief(v *verdict) []string {
	if v.passes() {
		return []string{staleText(v, c.maxAge)}
	}
	return v.brief()
}

// never is the age of a state whose time is not known.
const never = time.Duration(1<<63 - 1)

func staleText(v *verdict, most time.Duration) string {
	if v.stale == never {
		return fmt.Sprintf("%s: the replica does not report how old its state of the log is: upgrade it", safetext.Quoted(v.reference))
	}
	return fmt.Sprintf("%s: the replica's state of the log is %s old, and the limit is %s: see whether the replica reaches the log", safetext.Quoted(v.reference), v.stale.Round(time.Second), most)
}

// verdicts decides about the images, each once.
func (c *check) verdicts(ctx context.Context) []*verdict {
	var all, asked []*verdict
	var questions []question
	at := map[string]*verdict{}
	if c.action == toAdvise && c.row.Resolve {
		c.begun = c.lookUp()
	}
	for _, i := range c.images {
		if v := at[i.Reference]; v != nil {
			v.field += ", " + i.Field
			continue
		}
		v := &verdict{reference: i.Reference, field: i.Field}
		at[i.Reference] = v
		all = append(all, v)
		if len(all) > maxImages {
			v.problem = fmt.Sprintf("the resource has more than %d images", maxImages)
			break
		}
		name, digest, ok := c.pin(ctx, v)
		if ok {
			asked = append(asked, v)
			questions = append(questions, question{c.row.Stage, c.row.Environment, name, digest})
		}
	}
	for i := range c.fields {
		f := &c.fields[i]
		all = append(all, &verdict{reference: f.Reference, field: f.Field, unknown: &answer.UnknownField{Resource: f.Resource, Field: f.Field, Reference: f.Reference}})
	}
	if len(questions) == 0 {
		return all
	}
	records := c.action == toDecide && !c.DryRun
	results, err := c.decider.decide(ctx, questions, records)
	now := c.decider.now()
	for i, v := range asked {
		if err != nil {
			v.problem = err.Error()
			continue
		}
		v.decided = results[i]
		switch age := now.Sub(results[i].asOf); {
		case results[i].asOf.IsZero():
			v.stale = never
		case age > c.maxAge:
			v.stale = age
		}
	}
	return all
}

// pin returns the name and digest of an image. If it has none, the problem is
// noted in the verdict.
func (c *check) pin(ctx context.Context, v *verdict) (name, digest string, ok bool) {
	if name, digest, ok = images.Pinned(v.reference); ok {
		return name, digest, true
	}
	switch {
	case strings.Contains(v.reference, "@"):
		v.problem = "the digest is not valid: name the image by NAME@sha256:…"
	case !c.row.Resolve:
		v.problem = "a tag can stand for another image at any time: name the image by its digest, NAME@sha256:…"
	case c.begun[v.reference] != nil:
		pinned, err := c.begun[v.reference].wait(ctx)
		if err == nil {
			return images.Pinned(pinned)
		}
		v.problem = "the tag can't be resolved: " + err.Error()
	default:
		v.problem = fmt.Sprintf("the tag was not replaced by a digest: have the webhook %s called before this one", PathMutate)
	}
	return "", "", false
}
