package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

// An examination is an open store that may be damaged. It changes no file. It
// implements store.Examination.
type examination struct {
	s      *Store
	opened *openedFS

	mark    *store.Mark
	markErr error // why mark is nil
	damage  []store.FileDamage
	usable  bool // s can be read
}

// Examine opens the store in dir for reading, as Engine.Examine does.
func Examine(dir string, opts store.Options) (store.Examination, error) {
	x := &examination{opened: &openedFS{FS: vfs.Default, names: map[string]bool{}}}
	x.s = newStore(x.opened, dir, opts)
	x.s.lenient = true
	if err := x.open(opts); err != nil {
		return nil, fmt.Errorf("examine data folder %s: %w", dir, err)
	}
	return x, nil
}

func (x *examination) open(opts store.Options) error {
	s := x.s
	x.mark, x.markErr = readMark(s.fs, mark.Path(s.dir))
	exists, err := s.exists(x.mark)
	if err != nil {
		x.damaged("", err)
	} else if !exists {
		return fmt.Errorf("there is no store: %w", store.ErrNotFound)
	}
	if _, err := s.fs.Stat(s.dir); isMissing(err) {
		return nil
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	journals, err := journalDamage(x.mark, s.fs, s.dir)
	if err != nil {
		return errors.Join(err, s.lock.Close())
	}
	x.damage = append(x.damage, journals...)
	if !exists {
		return nil
	}
	if err := s.openPebbleReadOnly(opts); err != nil {
		x.damaged("", err)
		return nil
	}
	for _, err := range s.tolerated {
		x.damaged("", err)
	}
	x.usable = true
	return nil
}

func (x *examination) damaged(name string, err error) {
	x.damage = append(x.damage, store.FileDamage{Name: name, Err: err})
}

// Mark implements store.Examination.
func (x *examination) Mark() (*store.Mark, error) { return x.mark, x.markErr }

// Damage implements store.Examination.
func (x *examination) Damage() []store.FileDamage { return x.damage }

// Store implements store.Examination.
func (x *examination) Store() store.DamagedStore {
	if !x.usable {
		return nil
	}
	return x.s
}

// Close implements store.Examination. Damage that prevents a clean close was
// reported before.
func (x *examination) Close() error {
	if x.s.lock == nil {
		return nil
	}
	if err := x.s.Close(); !errors.Is(err, store.ErrDamaged) {
		return err
	}
	return nil
}

// Salvage implements store.DamagedStore.
func (s *Store) Salvage(ctx context.Context) (*store.State, []error) {
	if err := s.enter(); err != nil {
		return nil, []error{err}
	}
	defer s.uses.Done()
	st := &store.State{Raw: s.raw, Size: s.head.size, Root: s.head.root, Time: s.head.time, Secret: s.secret}
	var errs []error
	end, err := s.rowsEnd(ctx)
	if err == nil && end != st.Size {
		err = badRow(headKey, "the log has %d entries, and there are rows of %d", st.Size, end)
		st.Size = min(st.Size, end)
	}
	if err != nil {
		errs = append(errs, err)
	}
	return st, errs
}

// UnusedFiles implements store.DamagedStore. The files are large payloads.
func (s *Store) UnusedFiles(ctx context.Context) ([]string, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	files, err := s.fs.List(s.fs.PathJoin(s.dir, largeDir))
	if isMissing(err) || err == nil && len(files) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("large payloads: %w", err)
	}
	named, err := s.namedLarge(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range files {
		if !named[name] {
			out = append(out, largeDir+"/"+name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// CheckFiles implements store.Examination. It reads every table and blob file.
// A crash may leave a blob file that is cut off and that no row refers to.
func (x *examination) CheckFiles(ctx context.Context, progress func(done, total uint64), report func(store.FileDamage)) error {
	s := x.s
	names, err := s.fs.List(s.dir)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	tables, err := x.liveTables()
	if err != nil {
		report(store.FileDamage{Err: err})
	}
	var files []string
	var done, total uint64
	sizes := map[string]uint64{}
	for _, name := range names {
		isTable, isBlob := strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob")
		if !isTable && !isBlob || isTable && tables != nil && !tables[name] {
			continue
		}
		info, err := s.fs.Stat(s.fs.PathJoin(s.dir, name))
		if err != nil {
			return err
		}
		files = append(files, name)
		sizes[name] = uint64(info.Size())
		total += sizes[name]
	}
	isTable := func(name string) bool { return strings.HasSuffix(name, ".sst") }
	// tables first: with one damaged, any blob file may be needed
	slices.SortFunc(files, func(a, b string) int {
		if isTable(a) != isTable(b) {
			// '.' of ".sst" sorts before the 'b' of ".blob"
			return strings.Compare(a[len(a)-4:], b[len(b)-4:])
		}
		return strings.Compare(a, b)
	})
	broken := tables == nil
	for _, name := range files {
		used := x.opened.has(name)
		err := s.checkFile(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && (isTable(name) || broken || used) {
			report(store.FileDamage{Name: name, Err: err})
			broken = true
		}
		done += sizes[name]
		if progress != nil {
			progress(done, total)
		}
	}
	return nil
}

// liveTables returns the tables that the store consists of, or nil if that is
// not certain.
func (x *examination) liveTables() (live map[string]bool, err error) {
	if !x.usable || len(x.damage) > 0 { // it may be an old state
		return nil, nil
	}
	defer recoverDamage(&err)
	levels, err := x.s.db.SSTables()
	if err != nil {
		return nil, err
	}
	live = map[string]bool{}
	for _, tables := range levels {
		for i := range tables {
			live[fmt.Sprintf("%06d.sst", tables[i].BackingSSTNum)] = true
		}
	}
	return live, nil
}

// checkFile reads every block of a table or blob file.
func (s *Store) checkFile(ctx context.Context, name string) (err error) {
	defer recoverDamage(&err)
	f, err := s.fs.Open(s.fs.PathJoin(s.dir, name), vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	defaults := &pebble.Options{}
	defaults.EnsureDefaults()
	o := defaults.MakeReaderOptions()
	setFileNumber(&o.CacheOpts.FileNum, name)
	if strings.HasSuffix(name, ".blob") {
		r, err := blob.NewFileReader(ctx, readable, blob.FileReaderOptions{ReaderOptions: o.ReaderOptions})
		if err != nil {
			return errors.Join(err, readable.Close())
		}
		return errors.Join(checkBlobFile(ctx, r), r.Close())
	}
	r, err := sstable.NewReader(ctx, readable, o)
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// setFileNumber sets the number of a table or blob file, which errors of Pebble
// contain. Its type is internal to Pebble.
func setFileNumber[T ~uint64](to *T, name string) {
	digits, _, _ := strings.Cut(name, ".")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err == nil {
		*to = T(n)
	}
}

// checkBlobFile reads the index, and every block that is in it.
func checkBlobFile(ctx context.Context, r *blob.FileReader) error {
	index, err := r.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	// The index block: a count of virtual blocks, and two columns, of which
	// the second has the offsets of the blocks and of their end.
	data := index.BlockData()
	virtual := int(binary.LittleEndian.Uint32(data))
	var d colblk.BlockDecoder
	d.Init(data, 4)
	_ = colblk.DecodeColumn(&d, 0, virtual, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	offsets := colblk.DecodeColumn(&d, 1, d.Rows()+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range d.Rows() {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := block.Handle{Offset: offsets.At(i), Length: offsets.At(i+1) - offsets.At(i) - block.TrailerLen}
		values, err := r.ReadValueBlock(ctx, block.NoReadEnv, nil, h)
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		values.Release()
	}
	return nil
}
