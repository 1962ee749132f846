package operate

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/api/tsa"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// rekorFiles returns the files of the Rekor log, or none without
// --rekor-origin.
func (c *initCmd) rekorFiles() ([]datadir.File, error) {
	if c.RekorOrigin == "" {
		if c.TSA {
			return nil, errors.New("--tsa: the timestamp authority is served beside a Rekor log: also give --rekor-origin HOST")
		}
		return nil, nil
	}
	if err := datadir.CheckRekorOrigin(c.RekorOrigin); err != nil {
		return nil, fmt.Errorf("--rekor-origin: %w", err)
	}
	return newRekorFiles(c.RekorOrigin, c.TSA, time.Now())
}

// addRekor adds a Rekor log to the folder of a log.
func (c *initCmd) addRekor(a *term.App, files []datadir.File) error {
	if _, err := datadir.Load(c.Dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.Dir, datadir.RekorKeyFile)); err == nil {
		return fmt.Errorf("%s already has a Rekor log, and init overwrites nothing", c.Dir)
	}
	if err := mark.Create(filepath.Join(c.Dir, datadir.RekorStoreDir)); err != nil {
		return err
	}
	if err := datadir.WriteFiles(c.Dir, files); err != nil {
		return err
	}
	return c.Print(a, &term.Made{Title: "Added to " + c.Dir, Origin: c.RekorOrigin, Folder: c.Dir, Files: c.madeRekorFiles(), Next: c.next()})
}

// madeRekorFiles describes the files of the Rekor log.
func (c *initCmd) madeRekorFiles() []term.MadeFile {
	if c.RekorOrigin == "" {
		return nil
	}
	files := []term.MadeFile{
		{File: datadir.RekorKeyFile, Purpose: fmt.Sprintf("signs the Rekor log %s: back it up, and keep it secret", c.RekorOrigin)},
		{File: datadir.RekorKeysFile, Purpose: "its public keys"},
	}
	if c.TSA {
		files = append(files, term.MadeFile{File: datadir.TSAKeyFile, Purpose: "signs timestamps: keep it secret"}, term.MadeFile{File: datadir.TSAChainFile, Purpose: "its certificates"})
	}
	return files
}

// newRekorFiles makes the keys of a Rekor log and, with withTSA, of a timestamp
// authority. The last file completes the log.
func newRekorFiles(origin string, withTSA bool, now time.Time) ([]datadir.File, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	key, err := rekor.NewKey(vkey, now.Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	keys, err := json.MarshalIndent([]rekor.Key{key}, "", "  ")
	if err != nil {
		return nil, err
	}
	files := []datadir.File{{Name: datadir.RekorKeysFile, Content: string(keys) + "\n", Mode: 0o644}, {Name: datadir.RekorKeyFile, Content: skey + "\n", Mode: 0o600}}
	if !withTSA {
		return files, nil
	}
	tsaKey, chain, err := tsa.NewChain(origin, now)
	if err != nil {
		return nil, err
	}
	tsaPEM, err := datadir.EncodePrivateKey(tsaKey)
	if err != nil {
		return nil, err
	}
	return append([]datadir.File{
		{Name: datadir.TSAKeyFile, Content: tsaPEM, Mode: 0o600},
		{Name: datadir.TSAChainFile, Content: tsa.EncodeChain(chain), Mode: 0o644},
	}, files...), nil
}

// A rekorLog is an open Rekor log.
type rekorLog struct {
	ledger  *ledger.Ledger
	store   store.Store
	anchor  *anchor.Writer
	handler http.Handler
}

// openRekor opens the folder's Rekor log. cfg is the configuration of the main
// log, whose store, signers and observer are replaced.
func openRekor(ctx context.Context, d *datadir.Dir, cfg ledger.Config, metrics *api.Metrics) (_ *rekorLog, err error) {
	signer, keys, err := datadir.LoadRekorKeys(d.Path)
	if err != nil {
		return nil, err
	}
	r := &rekorLog{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	r.store, err = datadir.OpenStore(ctx, d.Path, datadir.RekorStore(signer.Name()), cfg.Logger)
	if isRolledBack(err) {
		return r, r.openRolledBack(ctx, d, keys, cfg, metrics, err)
	}
	if err != nil {
		return nil, err
	}
	cfg.Store, cfg.Signer, cfg.Overlap, cfg.Observe = r.store, signer, nil, ledger.Observer{}
	if r.ledger, err = ledger.Open(ctx, cfg); err != nil {
		return nil, fmt.Errorf("the Rekor log: %w", err)
	}
	if r.anchor, err = anchor.NewWriter(filepath.Join(d.Path, datadir.RekorStoreDir+datadir.AnchorSuffix), cosignedLog{r.ledger}.anchored, cfg.Logger); err != nil {
		return nil, err
	}
	stamps, err := loadTSA(d.Path, r.ledger, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return r, r.serve(keys, stamps, cfg.Logger, metrics)
}

// serve makes the handler of the log. stamps may be nil.
func (r *rekorLog) serve(keys []rekor.Key, stamps *tsa.Authority, log *slog.Logger, metrics *api.Metrics) error {
	h, err := rekor.NewHandler(rekor.Config{Ledger: r.ledger, Keys: keys, TSA: stamps, Logger: log, Observe: metrics.RekorObserver(), Delayed: metrics.Delayed, Admit: api.AdmitToRekor})
	if err != nil {
		return err
	}
	metrics.WatchRekor(r.ledger, h.Book())
	r.handler = h
	return nil
}

// openRolledBack opens the log as it was when its publish mark was written. It
// accepts no entries and issues no timestamps.
func (r *rekorLog) openRolledBack(ctx context.Context, d *datadir.Dir, keys []rekor.Key, cfg ledger.Config, metrics *api.Metrics, cause error) error {
	cfg.Logger.Error("the Rekor log is older than its newest checkpoint and is served read-only: see \"A log that was rolled back\" in docs/operator.md", "err", cause)
	policy, err := loadRekorPolicy(d.Path)
	if err != nil {
		return err
	}
	var published *store.Mark
	if r.store, published, err = datadir.OpenStoreReadOnly(ctx, d.Path, datadir.RekorStore(policy.Origin()), cfg.Logger); err != nil {
		return err
	}
	cfg.Store, cfg.Signer, cfg.Observe = r.store, nil, ledger.Observer{}
	if r.ledger, err = ledger.OpenReadOnly(ctx, cfg, policy, published.Checkpoint, fmt.Errorf(rolledBackRemedy, ledger.ErrRolledBack)); err != nil {
		return fmt.Errorf("the Rekor log: %w", err)
	}
	return r.serve(keys, nil, cfg.Logger, metrics)
}

// loadRekorPolicy returns a policy with the Rekor log's key and no witness.
func loadRekorPolicy(dir string) (*receipt.TrustPolicy, error) {
	signer, keys, err := datadir.LoadRekorKeys(dir)
	if err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(keys[len(keys)-1].PublicKey)
	if err != nil {
		return nil, err
	}
	key, ok := public.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the Rekor log's key is not an Ed25519 key")
	}
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), key)
	if err != nil {
		return nil, err
	}
	return receipt.ParseTrustPolicy(datadir.RekorKeysFile, []byte(receipt.FormatTrustPolicy(vkey)))
}

// A rekorServer is an open Rekor log and its listener.
type rekorServer struct {
	*rekorLog
	server *edge.Server
	cert   *certificate
}

// startRekor opens the folder's Rekor log and serves it on the address.
func startRekor(a *term.App, d *datadir.Dir, address string, cfg ledger.Config, metrics *api.Metrics) (*rekorServer, error) {
	r, err := openRekor(a.Ctx, d, cfg, metrics)
	if err != nil {
		return nil, err
	}
	cert := &certificate{}
	if err := cert.load(d.Config.TLS, d.Rel, nil); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	site := sites["rekor"]
	site.Handler, site.Hosts, site.TLS, site.Errors = r.handler, append(d.Config.Hosts, r.ledger.Origin()), cert.source(), HTTPErrors(cfg.Logger)
	site.Connections = d.Config.Limits.Connections
	l, err := edge.Listen(address, site)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--rekor-listen: %w", err), r.Close())
	}
	p := r.ledger.Published()
	cfg.Logger.Info("the Rekor log is open: its entries are public and permanent", "origin", r.ledger.Origin(), "size", p.Size, "root", p.Root.Base64())
	a.Listening("rekor", "Rekor log "+r.ledger.Origin()+" listening on", l.URL)
	return &rekorServer{r, l, cert}, nil
}

// stop finishes the requests under way and closes the log.
func (s *rekorServer) stop() error {
	_, err := s.server.Shutdown(shutdownTime)
	return errors.Join(err, s.Close())
}

// Close finishes waiting appends and closes the store.
func (r *rekorLog) Close() error {
	if r.anchor != nil {
		r.anchor.Close()
	}
	if r.ledger != nil {
		r.ledger.Close()
	}
	if r.store == nil {
		return nil
	}
	return r.store.Close()
}

// loadTSA returns the folder's timestamp authority, or nil if there is none.
// The authority issues no timestamps while the log distrusts the clock.
func loadTSA(dir string, l *ledger.Ledger, log *slog.Logger) (*tsa.Authority, error) {
	path := filepath.Join(dir, datadir.TSAKeyFile)
	text, err := bounded.ReadSecret(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	signer, err := pemfile.PrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	path = filepath.Join(dir, datadir.TSAChainFile)
	if text, err = bounded.ReadFile(path, bounded.Config); err != nil {
		return nil, err
	}
	chain, err := tsa.ParseChain(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tsa.New(signer, chain, func() (time.Time, error) {
		if err := l.Ready(); errors.Is(err, ledger.ErrClock) {
			return time.Time{}, err
		}
		return time.Now(), nil
	}, log)
}
