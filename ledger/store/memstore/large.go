package memstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"muniment.dev/muniment/ledger/store"
)

// CreatePayload implements store.Store.
func (s *Store) CreatePayload(ctx context.Context) (store.PayloadWriter, error) {
	if err := s.enterWrite(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	w := &payloadWriter{s: s}
	rand.Read(w.id[:]) // never fails: see crypto/rand
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[w.id] = w
	return w, nil
}

// Unnamed returns how many large payloads there are that no commit has named.
func (s *Store) Unnamed() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.written)
}

// payloadWriter implements store.PayloadWriter.
type payloadWriter struct {
	s        *Store
	id       [16]byte
	content  []byte
	finished bool
}

var errFinished = errors.New("the payload is finished")

func (w *payloadWriter) Write(p []byte) (int, error) {
	if w.finished {
		return 0, errFinished
	}
	w.content = append(w.content, p...)
	return len(p), nil
}

func (w *payloadWriter) Finish() (store.LargePayload, error) {
	if w.finished {
		return store.LargePayload{}, errFinished
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.finished = true
	return store.LargePayload{ID: w.id, Size: uint64(len(w.content))}, nil
}

func (w *payloadWriter) Open() (io.ReadCloser, error) {
	w.s.mu.RLock()
	defer w.s.mu.RUnlock()
	if _, ok := w.s.written[w.id]; !ok || !w.finished {
		return nil, errors.New("the payload is not finished, was discarded, or belongs to an entry")
	}
	return io.NopCloser(bytes.NewReader(w.content)), nil
}

func (w *payloadWriter) Discard() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.finished = true
	delete(w.s.written, w.id)
	return nil
}

// takeLarge puts the content of the commit's large payloads into its entries.
// Nothing is taken unless all is there.
func (s *Store) takeLarge(c *store.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for index, l := range c.LargePayloads() {
		w, ok := s.written[l.ID]
		if !ok || !w.finished || uint64(len(w.content)) != l.Size {
			return fmt.Errorf("entry %d: its large payload %x of %d bytes was not finished", index, l.ID, l.Size)
		}
		if i := index - c.From; len(c.Leaves) > 0 {
			c.Leaves[i].Record.Payload.Content = w.content
		} else {
			c.Entries[i].Payload.Content = w.content
		}
	}
	for _, l := range c.LargePayloads() {
		delete(s.written, l.ID)
	}
	return nil
}

// PayloadInfo implements store.Store.
func (s *Store) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	if err := s.enter(); err != nil {
		return store.PayloadInfo{}, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if index >= uint64(len(s.t.payloads)) || s.raw && s.t.noRecord(index, index+1) {
		return store.PayloadInfo{}, fmt.Errorf("payload %d: %w", index, store.ErrNotFound)
	}
	p := s.t.payloads[index]
	if p == nil {
		return store.PayloadInfo{Erased: true}, nil
	}
	return store.PayloadInfo{Salt: p.Salt, Size: uint64(len(p.Content))}, nil
}

// OpenPayload implements store.Store.
func (s *Store) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if index >= uint64(len(s.t.payloads)) || s.raw && s.t.noRecord(index, index+1) {
		return nil, fmt.Errorf("payload %d: %w", index, store.ErrNotFound)
	}
	p := s.t.payloads[index]
	if p == nil {
		return nil, nil
	}
	return &store.PayloadReader{ReadCloser: io.NopCloser(bytes.NewReader(p.Content)), Salt: p.Salt, Size: uint64(len(p.Content))}, nil
}

// CheckLarge implements store.Store. Nothing can be missing.
func (s *Store) CheckLarge(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.reads.Done()
	return nil
}

// Erase implements store.Store.
func (s *Store) Erase(ctx context.Context, erasures []store.Erasure) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	size := s.t.size
	s.mu.RUnlock()
	if err := store.CheckErasures(erasures, size); err != nil {
		return err
	}
	kept := cloneErasures(erasures)
	s.change(func(t *tables) { t.erase(kept) })
	s.sync()
	return nil
}

// Purge implements store.Store. There is no disk that bytes could lie on.
func (s *Store) Purge(ctx context.Context) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.change(func(t *tables) { clear(t.unpurged) })
	s.sync()
	return nil
}

// Unpurged implements store.Store.
func (s *Store) Unpurged() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.t.unpurged)
}
