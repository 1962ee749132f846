package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// scaleOutInProcess measures a log in PostgreSQL, whose primary waits for a
// synchronous standby, beside plain commits of that database and the embedded
// store.
func (b *bench) scaleOutInProcess() {
	ctx := context.Background()
	database := startDatabase(ctx)
	defer database.Stop()
	commit := syncedCommits(ctx, database.URL(postgresrig.User))
	row("limit: PostgreSQL, one synced commit of a row of 1.4 KiB", commit.String(), "")
	b.databaseAppender(database, commit)
	b.databaseAppenders(database)
}

// scaleOutServers measures three servers of a log in PostgreSQL, beside
// Tessera's driver for Aurora and S3.
func (b *bench) scaleOutServers() {
	ctx := context.Background()
	database := startDatabase(ctx)
	defer database.Stop()
	servers := b.startServers(database, 3)
	b.readsOfServers(ctx, database, servers)
	loads := b.appendsOfServers(servers)
	b.takeover(servers)
	for _, s := range servers { // the peer has the machine to itself
		s.kill()
	}
	database.Stop()
	b.besideTessera(ctx, loads)
}

// startDatabase starts a primary with a synchronous standby, both on disk.
func startDatabase(ctx context.Context) *postgresrig.Pair {
	p, err := postgresrig.StartPairWith(ctx, postgresrig.Config{Durable: true, OnDisk: true, Settings: map[string]string{"max_wal_size": "4GB"}})
	check(err)
	return p
}

// syncedCommits measures inserts of one row, each of which is on the disks of
// both servers when it returns.
func syncedCommits(ctx context.Context, url string) sample {
	conn, err := pgx.Connect(ctx, url)
	check(err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE TABLE one_row (id bigserial PRIMARY KEY, content bytea NOT NULL)")
	check(err)
	content := make([]byte, 1400)
	insert := func(int) {
		rand.Read(content)
		_, err := conn.Exec(ctx, "INSERT INTO one_row (content) VALUES ($1)", content)
		check(err)
	}
	times(100, insert)
	return times(1000, insert)
}

// databaseAppender measures the receipts of one caller.
func (b *bench) databaseAppender(database *postgresrig.Pair, commit sample) {
	l := b.openStore("database-one", database.URL(postgresrig.User)+"&schema=one", store.Options{})
	defer l.close()
	rng := newRNG()
	times(100, func(int) { l.append(rng, 1) })
	s := times(1000, func(int) { l.append(rng, 1) })
	ratio := s.quantile(0.5).Seconds() / commit.quantile(0.5).Seconds()
	row("PostgreSQL, in process, one appender: receipt", s.String(), fmt.Sprintf("%.1f× one synced commit; goal at most 5×", ratio))
}

// databaseAppenders measures 512 callers, beside the embedded store.
func (b *bench) databaseAppenders(database *postgresrig.Pair) {
	measure := func(l *log) float64 {
		defer l.close()
		noise()
		return during(512, time.Duration(*seconds)*time.Second, func(_ int, rng *mrand.ChaCha8) { l.append(rng, 1) })
	}
	embedded := measure(b.open("beside-database"))
	shared := measure(b.openStore("database-many", database.URL(postgresrig.User)+"&schema=many", store.Options{}))
	row("embedded, in process, 512 appenders of 1 KiB", rate(embedded), "")
	row("PostgreSQL, in process, 512 appenders of 1 KiB", rate(shared), fmt.Sprintf("%.2f× the embedded store; goal 0.4×", shared/embedded))
}

// startServers starts servers of one log in the database, which forward to each
// other.
func (b *bench) startServers(database *postgresrig.Pair, n int) []*server {
	first := b.initialise("servers-0")
	ports, err := peers.FreePorts(n)
	check(err)
	urls := make([]string, n)
	for i, port := range ports {
		urls[i] = "http://127.0.0.1:" + port
	}
	f, err := os.OpenFile(filepath.Join(first, "muniment.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	check(err)
	_, err = fmt.Fprintf(f, "store: %s&schema=servers\nservers: {urls: [%s]}\n", database.URL(postgresrig.User), strings.Join(urls, ", "))
	check(errors.Join(err, f.Close()))
	servers := make([]*server, n)
	for i := range servers {
		data := filepath.Join(b.dir, fmt.Sprint("servers-", i))
		if i > 0 {
			command("cp", "-a", first, data)
		}
		servers[i] = b.serveOn(data, "127.0.0.1:"+ports[i])
	}
	return servers
}

// readsOfServers measures reads through one server and through all, and what a
// read costs the server and the database. On one machine, the servers share the
// processors.
func (b *bench) readsOfServers(ctx context.Context, database *postgresrig.Pair, servers []*server) {
	c := servers[0].client(1)
	rng := newRNG()
	for range 200 {
		_, err := c.Append(ctx, muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)})
		check(err)
	}
	reads := func(of []*server) float64 {
		clients := make([]*muniment.Client, len(of))
		for i, s := range of {
			clients[i] = s.client(64)
		}
		return during(64, time.Duration(*seconds)*time.Second/2, func(worker int, rng *mrand.ChaCha8) {
			_, err := clients[worker%len(of)].GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "bench", Index: 1 + rng.Uint64()%150}))
			check(err)
		})
	}
	conn, err := pgx.Connect(ctx, database.URL(postgresrig.User))
	check(err)
	defer conn.Close(ctx)
	reads(servers[:1]) // until its pool has all connections
	serverBefore, databaseBefore, begun := processorTimeOf(servers[0].cmd.Process.Pid), backendTime(ctx, conn), time.Now()
	one := reads(servers[:1])
	n := one * time.Since(begun).Seconds()
	perRead := func(d time.Duration) time.Duration { return round(time.Duration(float64(d) / n)) }
	server, db := perRead(processorTimeOf(servers[0].cmd.Process.Pid)-serverBefore), perRead(backendTime(ctx, conn)-databaseBefore)
	all := reads(servers)
	row("PostgreSQL, reads of entries through one server", rate(one), fmt.Sprintf("processor time of a read: server %s, database %s, so it serves %.1f servers", server, db, float64(server)/float64(db)))
	row(fmt.Sprintf("PostgreSQL, reads of entries through %d servers", len(servers)), rate(all), fmt.Sprintf("%.2f×; servers, database and client share the processors", all/one))
}

// backendTime returns the processor time of the primary's connections, those of
// servers that follow included.
func backendTime(ctx context.Context, conn *pgx.Conn) (d time.Duration) {
	rows, err := conn.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`)
	check(err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	check(err)
	for _, pid := range pids {
		d += processorTimeOf(pid)
	}
	return d
}

// processorTimeOf returns the processor time of a process.
func processorTimeOf(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return 0 // it has ended meanwhile
	}
	check(err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from field 3 of proc_pid_stat(5) on
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		check(err)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}

// A load is what clients measured.
type load struct {
	rate  float64 // a second
	takes sample
}

// loaded runs f in n goroutines, and measures each call.
func loaded(n int, d time.Duration, f func(rng *mrand.ChaCha8) error) (l load) {
	takes := make([]sample, n)
	l.rate = during(n, d, func(worker int, rng *mrand.ChaCha8) {
		start := time.Now()
		for f(rng) != nil { // it pushes back when it has too much to do
			time.Sleep(10 * time.Millisecond)
		}
		takes[worker] = append(takes[worker], time.Since(start))
	})
	for _, s := range takes {
		l.takes = append(l.takes, s...)
	}
	return l
}

// takeover kills the server that records, twice, and measures how long no
// receipts come. Everything acknowledged must be there afterwards.
func (b *bench) takeover(servers []*server) {
	for len(servers) > 1 {
		writer := recording(servers)
		killed := servers[writer]
		rest := slices.Delete(slices.Clone(servers), writer, writer+1)
		time.AfterFunc(time.Second, killed.kill)
		gap, receipts := rest[0].pause(8 * time.Second)
		c := rest[0].client(1)
		for _, text := range receipts {
			rec, err := receipt.Verify(text, []*receipt.TrustPolicy{killed.policy}, receipt.Options{HeaderOnly: true, Tenant: new("bench")})
			check(err)
			_, err = c.GetEntry(context.Background(), connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "bench", Index: rec.Index}))
			check(err)
		}
		row(fmt.Sprintf("PostgreSQL, longest pause, the recording of %d servers killed", len(servers)), round(gap).String(),
			fmt.Sprintf("goal 3s: %.1f×; %d receipts, none lost", 3/gap.Seconds(), len(receipts)))
		servers = rest
	}
}

// pause appends from eight clients through the server for a time, and returns
// the longest time between two receipts, and all receipts.
func (s *server) pause(d time.Duration) (gap time.Duration, receipts [][]byte) {
	c := s.client(8)
	var mu sync.Mutex
	last := time.Now()
	during(8, d, func(_ int, rng *mrand.ChaCha8) {
		r, err := c.Append(context.Background(), muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)})
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		gap = max(gap, time.Since(last))
		last, receipts = time.Now(), append(receipts, r.Receipt)
	})
	return max(gap, time.Since(last)), receipts
}

// recording returns the place of the server that records.
func recording(servers []*server) int {
	for {
		for i, s := range servers {
			text, err := os.ReadFile(s.log)
			check(err)
			if bytes.Contains(text, []byte("this server records what")) {
				return i
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// connectionCounts are the numbers of connections over which appends are
// measured.
var connectionCounts = []int{1, 64, 512}

// appendsOfServers measures appends to the server that records, by the number
// of connections.
func (b *bench) appendsOfServers(servers []*server) map[int]load {
	recorder := servers[recording(servers)]
	loads := map[int]load{}
	for _, n := range connectionCounts {
		plain := recorder.plain(pool(n))
		loads[n] = loaded(n, time.Duration(*seconds)*time.Second, func(rng *mrand.ChaCha8) error { return plain.append(evidence(rng)) })
		row(fmt.Sprintf("PostgreSQL, HTTP, %s: full receipts", nConnections(n)), rate(loads[n].rate), loads[n].takes.String())
	}
	return loads
}

// besideTessera measures the same appends, with the same client, to Tessera's
// conformance server on MariaDB and versitygw.
//
// Muniment's answer contains the proof of inclusion in a signed checkpoint. The
// peer's is the index of the entry, which is in its database by then; it signs
// a checkpoint once a second. Both are measured: its answers, and the time
// until a checkpoint includes the entry.
func (b *bench) besideTessera(ctx context.Context, ours map[int]load) {
	if !*peer {
		return
	}
	d := time.Duration(*seconds) * time.Second
	t := b.startTesseraAWS(ctx)
	defer t.stop()
	for _, n := range connectionCounts {
		hc := pool(n)
		beside := func(what string, theirs load) {
			row(fmt.Sprintf("peer: Tessera AWS, %s: %s", nConnections(n), what), rate(theirs.rate), theirs.takes.String())
			row("  Muniment's full receipts beside it", fmt.Sprintf("%.2f×", ours[n].rate/theirs.rate),
				fmt.Sprintf("goal 3×; p50 %.1f× lower, goal 20×", theirs.takes.quantile(0.5).Seconds()/ours[n].takes.quantile(0.5).Seconds()))
		}
		beside("bare indexes", loaded(n, d, func(rng *mrand.ChaCha8) error {
			_, err := t.add(hc, evidence(rng))
			return err
		}))
		beside("until a checkpoint", loaded(n, d, func(rng *mrand.ChaCha8) error {
			index, err := t.add(hc, evidence(rng))
			if err == nil {
				t.await(index)
			}
			return err
		}))
	}
}

func nConnections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprint(n, " connections")
}
