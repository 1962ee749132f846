package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/bucketrig"
)

// A tesseraAWS is Tessera's conformance server for Aurora and S3, on MariaDB
// and versitygw.
type tesseraAWS struct {
	url     string
	server  *exec.Cmd
	mariadb *peers.Process
	bucket  *bucketrig.Rig

	published sync.Cond // its L guards the next field
	size      uint64    // of the newest checkpoint
	done      chan struct{}
}

// startTesseraAWS starts the server with an empty log. MariaDB waits for its
// disk at each commit, as by default.
func (b *bench) startTesseraAWS(ctx context.Context) *tesseraAWS {
	bin := b.installTessera("aws")
	t := &tesseraAWS{published: sync.Cond{L: new(sync.Mutex)}, done: make(chan struct{})}
	var err error
	t.bucket, err = bucketrig.Start(ctx)
	check(err)
	ports, err := peers.FreePorts(2)
	check(err)
	t.mariadb = b.startMariaDB(ctx, ports[0])
	t.url = "http://127.0.0.1:" + ports[1]
	t.server = exec.Command(bin, "--bucket="+bucketrig.Bucket, "--s3_endpoint=http://"+t.bucket.Address, "--s3_access_key="+bucketrig.Owner, "--s3_secret="+bucketrig.Secret,
		"--db_host=127.0.0.1", "--db_port="+ports[0], "--db_name=tessera", "--db_user=tessera", "--db_password=tessera", "--db_max_conns=64", "--db_max_idle_conns=64",
		"--listen=127.0.0.1:"+ports[1], "--signer="+tesseraKey(), "--publish_interval=1s")
	log, err := os.Create(filepath.Join(b.dir, "tessera-aws.log"))
	check(err)
	t.server.Stdout, t.server.Stderr = log, log
	check(t.server.Start())
	check(log.Close())
	send := pool(1)
	awaitTessera(func() error {
		_, err := t.add(send, evidence(newRNG()))
		return err
	}, func() string {
		text, _ := os.ReadFile(log.Name()) // the error of the request remains
		return string(text)
	})
	go t.watch()
	return t
}

// add appends a payload, and returns its index.
func (t *tesseraAWS) add(c *http.Client, payload []byte) (uint64, error) {
	answer, err := post(c, t.url+"/add", opaque, "", payload)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(answer), 10, 64)
}

// watch reads the checkpoint again and again. It reads the file of the object
// storage, which costs the peer nothing.
func (t *tesseraAWS) watch() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.done:
			return
		}
		text, err := os.ReadFile(filepath.Join(t.bucket.Folder, "checkpoint"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		check(err)
		lines := strings.SplitN(string(text), "\n", 3)
		if len(lines) < 3 {
			continue // it is being written
		}
		size, err := strconv.ParseUint(lines[1], 10, 64)
		check(err)
		t.published.L.Lock()
		t.size = size
		t.published.L.Unlock()
		t.published.Broadcast()
	}
}

// await waits until a checkpoint includes the entry.
func (t *tesseraAWS) await(index uint64) {
	t.published.L.Lock()
	defer t.published.L.Unlock()
	for t.size <= index {
		t.published.Wait()
	}
}

func (t *tesseraAWS) stop() {
	close(t.done)
	_ = t.server.Process.Kill()
	_ = t.server.Wait()
	t.mariadb.Stop()
	t.bucket.Stop()
}

// startMariaDB starts a server with an empty database and a user, both named
// tessera.
func (b *bench) startMariaDB(ctx context.Context, port string) *peers.Process {
	command(filepath.Join(".ci", "peers"), "mariadbd", "versitygw")
	dir := b.folder("mariadb")
	command("mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+filepath.Join(dir, "data"), "--auth-root-authentication-method=normal", "--skip-test-db")
	socket := filepath.Join(dir, "socket")
	p, err := peers.Program{Name: "mariadbd", Dir: dir, Ready: func(ctx context.Context) error {
		return exec.CommandContext(ctx, "mariadb-admin", "--no-defaults", "--user=root", "--socket="+socket, "ping").Run()
	}, Args: []string{
		"--no-defaults", "--user=root", "--datadir=" + filepath.Join(dir, "data"), "--socket=" + socket, "--pid-file=" + filepath.Join(dir, "pid"),
		"--bind-address=127.0.0.1", "--port=" + port, "--max-connections=1000", "--innodb-buffer-pool-size=512M",
	}}.Start(ctx)
	check(err)
	command("mariadb", "--no-defaults", "--user=root", "--socket="+socket, "-e", "CREATE DATABASE tessera; CREATE USER tessera@'127.0.0.1' IDENTIFIED BY 'tessera'; GRANT ALL ON tessera.* TO tessera@'127.0.0.1'")
	return p
}
