package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/seal"
	"muniment.dev/muniment/ledger/store"
)

const (
	// shareEvery is the interval at which the database is asked for a newer
	// version of the shared configuration.
	shareEvery = 500 * time.Millisecond
	// shareTimeout limits one question to the database.
	shareTimeout = 10 * time.Second
)

// A sharing keeps the configuration of a server equal to that of the other
// servers of its log. It belongs to the goroutine that runs reloader.follow.
type sharing struct {
	store   store.Configurations
	key     *seal.Key
	metrics *api.Metrics
	log     *slog.Logger
	version uint64 // in force; 0: the folder's own configuration is
	failure string // why a newer version is not in force; "" if there is none
	failed  failedVersion
	silent  bool // the database does not answer, which was logged
}

// A failedVersion is a version that could not be applied. It is tried again
// later, or when files of the folder have changed.
type failedVersion struct {
	version uint64 // 0: there is none
	reason  string
	files   string // state of the folder's files when it was tried
	again   time.Time
	wait    backoff
}

// firstRetry is the time after which a version is tried again that could not be
// applied.
const firstRetry = 2 * time.Second

// waits reports whether the version need not be tried yet.
func (f *failedVersion) waits(files string) bool {
	return f.version > 0 && f.files == files && time.Now().Before(f.again)
}

// openSharing puts the newest version of the shared configuration in force, if
// there is one. The server has not begun to serve.
func (s *logServer) openSharing() error {
	configurations, ok := s.store.(store.Configurations)
	if !ok {
		return nil
	}
	key, err := s.dir.SharedKey()
	if err != nil {
		return err
	}
	h := &sharing{store: configurations, key: key, metrics: s.metrics, log: s.log}
	s.reload.sharing = h
	v, theirs, err := h.newest(s.app.Ctx, s.dir.Config.Origin, 0)
	if err != nil {
		return fmt.Errorf("%w: the server does not start with another configuration than the others", err)
	}
	if err := noteBase(s.dir, v); err != nil {
		return err
	}
	if theirs == nil {
		h.inForce(s.dir, v.Version, nil)
		return nil
	}
	d, err := s.dir.WithShared(theirs)
	if err == nil {
		err = limitConnections(d, s.reload.withRekor, s.reload.health != "")
	}
	if err != nil {
		return fmt.Errorf("version %d of the shared configuration: %w: the server does not start with another configuration than the others", v.Version, err)
	}
	s.dir, s.reload.inForce = d, d
	h.inForce(d, v.Version, theirs)
	s.log.Info("the shared configuration in the database is in force in place of the folder's", "version", v.Version)
	return nil
}

// noteBase records the version that the folder is based on, if that is not
// recorded yet: the newest version if both are equal, and none otherwise. Then
// only a later change in the folder is one to be published.
func noteBase(folder *datadir.Dir, newest datadir.SharedVersion) error {
	base, err := datadir.ReadSharedBase(folder.Path)
	if err != nil || base != nil {
		return err
	}
	_, digest, err := encodeShared(folder)
	if err != nil {
		return err
	}
	if digest != newest.SHA256 {
		newest = datadir.SharedVersion{SHA256: digest}
	}
	return datadir.WriteSharedBase(folder.Path, newest)
}

// encodeShared returns the shared configuration that the folder itself has.
func encodeShared(folder *datadir.Dir) (text []byte, digest string, err error) {
	s, err := folder.Shared()
	if err != nil {
		return nil, "", err
	}
	text, err = s.Encode()
	return text, datadir.SharedDigest(text), err
}

// sealContext binds a version to its log and number.
func sealContext(origin string, version uint64) string {
	return fmt.Sprintf("muniment shared configuration, version 1\n%s\n%d", origin, version)
}

// newest returns the newest version of the shared configuration if it is after
// the given one, and otherwise nil.
func (h *sharing) newest(ctx context.Context, origin string, after uint64) (v datadir.SharedVersion, s *datadir.Shared, err error) {
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	version, content, err := h.store.Configuration(ctx, after)
	if v.Version = version; err != nil || content == nil {
		return v, nil, err
	}
	text, err := h.key.Open(sealContext(origin, version), content)
	if err == nil {
		v.SHA256 = datadir.SharedDigest(text)
		s, err = datadir.DecodeShared(text)
	} else {
		err = datadir.AdviseSealed(err)
	}
	if err != nil {
		return v, nil, fmt.Errorf("version %d of the shared configuration: %w", version, err)
	}
	return v, s, nil
}

// inForce records that a version is in force: s, or the folder's if it is nil.
func (h *sharing) inForce(d *datadir.Dir, version uint64, s *datadir.Shared) {
	h.version, h.failure, h.failed = version, "", failedVersion{}
	h.metrics.SharedConfiguration(version, "")
	if s == nil {
		return
	}
	if err := datadir.ReplaceOwned(filepath.Join(d.Path, datadir.SharedText), []byte(s.Settings)); err != nil {
		h.log.Warn("settings of the shared configuration not written", "err", err)
	}
}

// A publication is what a reload has to apply, and perhaps to publish.
type publication struct {
	folder  *datadir.Dir // to be applied
	version uint64       // of the shared configuration; 0: the folder's own one
	shared  *datadir.Shared
	text    []byte // to be published as the version; nil: it is published already
}

// settle returns the newest version, or the next one if the folder's
// configuration was changed since the version that it is based on.
func (h *sharing) settle(ctx context.Context, folder *datadir.Dir) (*publication, error) {
	text, digest, err := encodeShared(folder)
	if err != nil {
		return nil, err
	}
	base, err := datadir.ReadSharedBase(folder.Path)
	if err != nil {
		return nil, err
	}
	if base == nil {
		base = &datadir.SharedVersion{}
	}
	newest, theirs, err := h.newest(ctx, folder.Config.Origin, 0)
	if err != nil {
		return nil, err
	}
	p := &publication{folder: folder, version: newest.Version, shared: theirs}
	switch {
	case digest == newest.SHA256:
		err = datadir.WriteSharedBase(folder.Path, newest)
	case digest == base.SHA256: // unchanged
	case base.Version != newest.Version:
		err = notNewest(base.Version, newest.Version)
	default:
		p.version, p.text = p.version+1, text
		p.shared, err = datadir.DecodeShared(text)
	}
	if err == nil && p.shared != nil {
		p.folder, err = folder.WithShared(p.shared)
	}
	return p, err
}

// notNewest is the error for a folder whose changes are not based on the newest
// version.
func notNewest(base, newest uint64) error {
	return fmt.Errorf("the folder's configuration is based on version %d of the shared one, and version %d was published since: take its settings from %s into %s, then: muniment reload --based-on %d",
		base, newest, datadir.SharedText, datadir.ConfigFile, newest)
}

// publish publishes what settle has returned, unless another server is first.
func (h *sharing) publish(ctx context.Context, p *publication) error {
	if p.text == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	published, err := h.store.PublishConfiguration(ctx, p.version, h.key.Seal(sealContext(p.folder.Config.Origin, p.version), p.text))
	if err != nil {
		return err
	}
	if !published {
		return notNewest(p.version-1, p.version)
	}
	h.log.Info("shared configuration published", "version", p.version)
	return datadir.WriteSharedBase(p.folder.Path, datadir.SharedVersion{Version: p.version, SHA256: datadir.SharedDigest(p.text)})
}

// followShared applies a version that another server has published. Until that
// succeeds it is tried again, and reported once.
func (r *reloader) followShared(ctx context.Context) {
	h := r.sharing
	after, files := h.version, r.filesState()
	if h.failed.waits(files) {
		after = h.failed.version
	}
	v, theirs, err := h.newest(ctx, r.inForce.Config.Origin, after)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && v.Version == 0:
		h.noAnswer(err)
		return
	}
	h.silent = false
	switch {
	case err == nil && theirs == nil && v.Version == h.failed.version && h.failed.version > 0:
		h.behind(h.failed.reason)
		return
	case err == nil && theirs == nil:
		if h.failure != "" {
			h.inForce(r.inForce, h.version, nil)
		}
		return
	}
	var d *datadir.Dir
	if err == nil {
		d, err = r.inForce.WithShared(theirs)
	}
	if err == nil {
		err = r.apply(ctx, d)
	}
	switch {
	case err == nil:
		h.inForce(d, v.Version, theirs)
		h.log.Info("shared configuration in force", "version", v.Version)
	case ctx.Err() == nil:
		h.cannotApply(v.Version, err, files)
	}
}

// filesState returns a value that changes when files are replaced that the
// folder has beside the shared configuration.
func (r *reloader) filesState() string { return r.inForce.RootsState() + r.tlsState() }

// cannotApply remembers that a version could not be applied. The same reason is
// logged once.
func (h *sharing) cannotApply(version uint64, err error, files string) {
	f, reason := &h.failed, err.Error()
	if f.version != version || f.reason != reason {
		h.log.Error("shared configuration not in force; the previous one stays in force", "version", version, "err", err)
	}
	if f.version != version || f.files != files {
		f.wait = newBackoff(firstRetry)
	}
	f.version, f.reason, f.files = version, reason, files
	f.wait.failed(err)
	f.again = time.Now().Add(f.wait.delay)
	h.behind(reason)
}

// noAnswer reports that the database does not answer, once until it does.
func (h *sharing) noAnswer(err error) {
	if !h.silent {
		h.silent = true
		h.log.Error("shared configuration not read; the previous one stays in force", "err", err)
	}
	h.behind(err.Error())
}

// behind reports why this server may not have the newest version.
func (h *sharing) behind(reason string) {
	if h.failure != reason {
		h.failure = reason
		h.metrics.SharedConfiguration(h.version, reason)
	}
}

// errNotShared is the error for --based-on without a shared store.
var errNotShared = errors.New("--based-on: only servers that share a store share a configuration: set store in " + datadir.ConfigFile)
