package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
)

// journalDamages are damages to the files that an open depends on. Each has
// the effect on the files of a folder, by path.
var journalDamages = map[string]func(files map[string][]byte){
	"MANIFEST flipped":        flipFiles("/store/MANIFEST-"),
	"MANIFEST cut":            cutFiles("/store/MANIFEST-"),
	"MANIFEST missing":        removeFiles("/store/MANIFEST-"),
	"marker missing":          removeFiles("/store/marker.manifest"),
	"OPTIONS cut":             cutFiles("/store/OPTIONS-"),
	"write-ahead log flipped": flipFiles(".log"),
	"write-ahead log missing": removeFiles(".log"),
	"tables missing":          removeFiles(".sst"),
	"blob files missing":      removeFiles(".blob"),
	"no mark and no anchor":   removeFiles("store.mark", "store.anchor"),
	"store missing":           removeFiles("/store/"),
}

func changeFiles(change func(files map[string][]byte, path string), parts ...string) func(files map[string][]byte) {
	return func(files map[string][]byte) {
		for path := range maps.Clone(files) {
			for _, part := range parts {
				if strings.Contains(path, part) && !strings.HasSuffix(path, "/audit.log") {
					change(files, path)
				}
			}
		}
	}
}

func flipFiles(parts ...string) func(map[string][]byte) {
	return changeFiles(func(files map[string][]byte, path string) {
		if data := bytes.Clone(files[path]); len(data) > 0 {
			data[len(data)/3] ^= 1
			files[path] = data
		}
	}, parts...)
}

func cutFiles(parts ...string) func(map[string][]byte) {
	return changeFiles(func(files map[string][]byte, path string) { files[path] = files[path][:len(files[path])/2] }, parts...)
}

func removeFiles(parts ...string) func(map[string][]byte) {
	return changeFiles(func(files map[string][]byte, path string) { delete(files, path) }, parts...)
}

// TestDamagedFilesAndCommands runs every command that opens a store on folders
// with damaged files. Each refuses and changes no file.
func TestDamagedFilesAndCommands(t *testing.T) {
	soak.WithoutRace(t)
	log := newFsckRig(t)
	elsewhere := t.TempDir()
	half, rest, replica := filepath.Join(elsewhere, "half.delta"), filepath.Join(elsewhere, "rest.delta"), filepath.Join(elsewhere, "replica")
	must := func(args ...string) {
		t.Helper()
		if code := run(t.Context(), args, nil, io.Discard, os.Stderr); code != 0 {
			t.Fatalf("%q: exit code %d", args, code)
		}
	}
	must("export", "--data", log.dir, "--since", "0", "-o", half)
	must("replica", "init", replica, "--policy", filepath.Join(log.dir, "policy"), "--tenant", "acme="+filepath.Join(log.dir, "streams", "acme.key"))
	must("import", half, "--data", replica)
	d, err := datadir.Load(log.dir)
	if err != nil {
		t.Fatal(err)
	}
	log.session(t, d, func(l *ledger.Ledger) { log.append(t, l, draftOf(&d.Tenants[0], []byte("newer"))) })
	log.files = folderFiles(t, log.dir)
	must("export", "--data", log.dir, "--since", "305", "-o", rest)
	for _, c := range []struct {
		folder   string
		commands [][]string
	}{
		{log.dir, [][]string{
			{"serve", "--listen", "127.0.0.1:0"}, {"reindex"}, {"reindex", "--check"}, {"backup", "--to", filepath.Join(elsewhere, "backups")},
			{"export", "--since", "0", "-o", filepath.Join(elsewhere, "new.delta")},
		}},
		{replica, [][]string{{"import", rest}, {"import", half}, {"serve", "--listen", "127.0.0.1:0"}}},
	} {
		sound := folderFiles(t, c.folder)
		for name, damage := range journalDamages {
			files := maps.Clone(sound)
			damage(files)
			if maps.EqualFunc(files, sound, bytes.Equal) {
				continue // the folder has no such file
			}
			for _, args := range c.commands {
				writeFolder(t, c.folder, files)
				var out bytes.Buffer
				code := run(t.Context(), append(args, "--data", c.folder), nil, &out, &out)
				if code != term.ExitFailed && code != term.ExitNo && code != term.ExitRollback {
					t.Errorf("%s: %s: exit code %d\n%s", name, args[0], code, &out)
				}
				after := folderFiles(t, c.folder)
				for path := range after {
					if _, ok := files[path]; !ok && filepath.Base(path) != "LOCK" || !bytes.Equal(files[path], after[path]) {
						t.Errorf("%s: %s changed %s\n%s", name, args[0], path, &out)
					}
				}
				for path := range files {
					if _, ok := after[path]; !ok {
						t.Errorf("%s: %s removed %s\n%s", name, args[0], path, &out)
					}
				}
			}
		}
		writeFolder(t, c.folder, sound)
	}
}

// TestEraseDamagedEntry erases an entry with damaged rows. The erasure is
// refused as data loss, because it could leave traces of the evidence.
func TestEraseDamagedEntry(t *testing.T) {
	soak.WithoutRace(t)
	r := newFsckRig(t)
	d, err := datadir.Load(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	const index = 6
	for name, edit := range map[string]func(*rowEditor){
		"payload":         flipAt(rowKey('p', index), -1),
		"payload salt":    flipAt(rowKey('p', index), 3),
		"payload missing": deleteRow(rowKey('p', index)),
		"header missing":  deleteRow(rowKey('h', 0)),
		"header":          firstRow('h', func(v []byte) []byte { return bytes.Replace(v, []byte("text/plain"), []byte("text/plaim"), 100) }),
	} {
		t.Run(name, func(t *testing.T) {
			r.restore(t)
			r.edit(t, func(_ *testing.T, e *rowEditor) { edit(e) })
			s, err := datadir.OpenStore(t.Context(), r.dir, d.LogStore(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			l, err := ledger.Open(t.Context(), ledger.Config{Store: s, Signer: d.Signer, Fatal: func(err error) { t.Error(err) }})
			if err == nil {
				for _, header := range []bool{false, true} {
					if _, err := l.PlanErasure(t.Context(), d.Tenants[0].Stream, index, header); !errors.Is(err, ledger.ErrDamaged) {
						t.Errorf("header %v: %v", header, err)
					}
				}
				l.Close()
			} else if !errors.Is(err, ledger.ErrDamaged) {
				t.Errorf("open: %v", err)
			}
			later := []ledger.LaterErasure{{Entry: index, Stream: d.Tenants[0].Stream.ID, Header: true}}
			if n, err := ledger.EraseLater(t.Context(), s, later); !errors.Is(err, ledger.ErrDamaged) || n > 0 {
				t.Errorf("at a restore: %d erased, error %v", n, err)
			}
		})
	}
}
